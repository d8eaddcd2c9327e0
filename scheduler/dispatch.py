"""How queued tasks get onto nodes: waits end, buckets are walked, offers are made and resent."""

from __future__ import annotations

import heapq
from collections import Counter
from typing import TYPE_CHECKING

from ..protocol import asks
from . import evictions, life, limits, reservations, reserving, warm
from .buckets import Bucket
from .events import Now
from .fills import first_into
from .fleet import Node
from .news import News
from .placement import Choice
from .places import Place, Places
from .records import AttemptGranted, Effects, Granted, Offering
from .reservations import Asker
from .scores import FASTEST, PACK
from .task import NOT_RAISED, Attempt, Fact, State, Task
from .tokens import make_token
from .vacancy import refusal_now, takes

if TYPE_CHECKING:
    from .core import Core


def end_waits(core: Core, now: Now, effects: Effects) -> None:
    """Queue the tasks whose backoff is over, and let nodes be asked again that refused."""
    while core.waits and core.waits[0][0] <= now.mono_ns:
        due_ns, _, task_id = heapq.heappop(core.waits)
        task = core.tasks.get(task_id)
        if task is None or task.state is not State.WAITING or task.due_ns != due_ns:
            continue
        life.advance(core, task, Fact.READY)
        life.record_position(task, effects)
        core.buckets.put(task)
    for node in core.fleet.nodes.values():
        over = [request for request, until_ns in node.shunned.items() if until_ns <= now.mono_ns]
        for request in over:
            del node.shunned[request]
            core.fleet.changed(node)


def place(core: Core, now: Now, effects: Effects) -> None:
    """Hand queued tasks to nodes, by priority and age, as long as there is room."""
    reservations.refresh(core, now)
    if core.holds:
        core.unplaced, core.reservations.due_ns = False, None
        return
    if core.rating.order == FASTEST and core.paces.is_news:
        core.rating = core.settings.rating.measured(core.paces.speeds())
    evictions.end_claims(core, now)
    leaving = evictions.Evictions(core, now, effects)
    offers: dict[str, Offering] = {}
    candidates: dict[int, Places] = {}
    left = core.settings.grants_per_turn_max
    news = News(core.fleet)
    waiting: Counter[int] = Counter()
    is_packing = core.rating.order == PACK and bool(core.settings.order_window_ms)
    if not leaving.are_possible:
        core.buckets.pass_over(news)
    for bucket in core.buckets.ready(news.revision):
        if not left:
            break
        if not leaving.are_possible and bucket.is_too_large(news):
            bucket.blocked_at = news.revision
            continue
        task = bucket.head()
        assert task is not None
        places = candidates.get(id(bucket))
        if places is None:
            places = Places(core, bucket, now, news.since(bucket.blocked_at))
            candidates[id(bucket)] = places
        choice = places.pick(task)
        if choice is None:
            if leaving.are_possible:
                leaving.make_room(task, places.not_kept())
            news.count_again(bucket.blocked_at)
            bucket.blocked_at = news.revision
            continue
        taken = bucket
        if is_packing and bucket.part_bytes and task.id not in core.reservations.of:
            waiting = waiting or core.buckets.parts()
            taken, task, choice = _better_fill(core, bucket, task, choice, news.revision, waiting)
        taken.pop()
        _grant(core, task, choice, now, effects, offers)
        left -= 1
    # Room may have been kept, and is left.
    if left:
        reserving.look(core, now)
    core.unplaced = not left or core.fleet.revision != news.revision
    effects.to_nodes += offers.values()


def _better_fill(
    core: Core,
    bucket: Bucket,
    task: Task,
    place_: Place,
    revision: int,
    waiting: Counter[int],
) -> tuple[Bucket, Task, Place]:
    """Return what of the buckets beside should go onto the chosen card, or the task itself."""
    choice, _ = place_
    node, (uuid,) = choice.node, choice.gpus
    gap = node.cards[uuid].vram_free_bytes
    others = core.buckets.beside(task, gap, revision)
    sizes = list(dict.fromkeys(size for size, _ in others))
    size = first_into(gap, sizes, waiting, core.fleet.parts)
    if size is None or size == task.spec.request.vram_bytes:
        return bucket, task, place_
    for wanted, other in others:
        if wanted != size:
            continue
        request, head = other.key.request, other.head()
        assert head is not None
        shown = reservations.seen_by(Asker(core, head), node)
        if not refusal_now(shown, request) and takes(shown, uuid, request):
            return other, head, (Choice(node, request, (uuid,)), False)
    return bucket, task, place_


def _grant(
    core: Core,
    task: Task,
    place_: Place,
    now: Now,
    effects: Effects,
    offers: dict[str, Offering],
) -> None:
    choice, prefetched = place_
    node = choice.node
    offering = offers.get(node.name)
    if offering is None:
        node.rev += 1
        offering = offers[node.name] = Offering(node.name, node.incarnation, node.rev, [])
    task.attempt = max(task.attempt + 1, _attempt_floor(core, task))
    life.advance(core, task, Fact.GRANT)
    token = make_token(core.secret, task.id, task.attempt, core.epoch)
    attempt = task.live = Attempt(
        task.attempt, node.name, core.epoch, token, choice.request, choice.gpus, prefetched,
        node.rev, now.mono_ns,
    )  # fmt: skip
    is_load = warm.needs_load(node, attempt)
    node.add(task, attempt)
    if is_load:
        warm.promise(node, task, attempt)
        core.warmth.on_load(attempt.seat[:2], now.mono_ns)
    warm.note_call(node, attempt, now.wall_ms)
    core.warmth.since_ns.pop(task.id, None)
    if core.claims:
        evictions.drop(core, task.spec.request)
    reservations.on_grant(core, task)
    limits.watch_start(core, task, now)
    asked = _asked(task, attempt)
    effects.commit.granted.append(
        AttemptGranted(
            task.id, attempt.number, node.name, core.epoch, choice.gpus, now.wall_ms, asked
        )
    )
    offering.grants.append(_granted(task, attempt, asked))


def _attempt_floor(core: Core, task: Task) -> int:
    """Return the lowest number that no node can hold of a task that was restored from a backup."""
    return core.floors.attempt if task.number < core.floors.task_number else 0


def _granted(task: Task, attempt: Attempt, asked: bytes) -> Granted:
    return Granted(
        task.id,
        task.batch,
        task.spec.spec_id,
        task.spec.owner,
        attempt.number,
        attempt.token,
        attempt.gpus,
        attempt.prefetched,
        asked,
    )


def _asked(task: Task, attempt: Attempt) -> bytes:
    """Write what was granted, where the spec as it was submitted does not say it."""
    spec = task.spec
    is_as_submitted = spec.raised == NOT_RAISED and not spec.sized_bytes
    is_as_submitted &= not spec.request.learned
    if is_as_submitted and (attempt.request is spec.request or attempt.request == spec.request):
        return asks.AS_ASKED
    return asks.to_blob(attempt.request)


def resend(core: Core, node: Node, tasks: list[Task], now: Now, effects: Effects) -> None:
    """Offer the same attempts again to a node that has not seen them; give up after some tries."""
    again = []
    for task in tasks:
        attempt = task.live
        assert attempt is not None
        if task.spec.policy.only_try:
            continue  # its node has it, or will say that it has it no more
        if attempt.offers >= core.settings.offer_tries:
            life.requeue(core, task, now, effects, "returned", "the offer was never taken in")
        else:
            again.append((task, attempt))
    if not again:
        return
    node.rev += 1
    for task, attempt in again:
        attempt.rev, attempt.offered_ns = node.rev, now.mono_ns
        warm.renew(node, task, attempt)
        attempt.offers += 1
    grants = [_granted(*pair, _asked(*pair)) for pair in again]
    effects.to_nodes.append(Offering(node.name, node.incarnation, node.rev, grants))
