"""How queued tasks get onto nodes: waits end, buckets are walked, offers are made and resent."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from ..protocol import asks
from . import evictions, life, limits, warm, warmth
from .buckets import Bucket, is_part
from .events import Now
from .feasible import may_ever
from .fills import first_into
from .fleet import Node
from .placement import Candidates, Choice, avoided, could_run
from .records import AttemptGranted, Effects, Granted, Offering
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
            core.fleet.revision += 1


def place(core: Core, now: Now, effects: Effects) -> None:
    """Hand queued tasks to nodes, by priority and age, as long as there is room."""
    if core.holds:
        core.unplaced = False
        return
    if core.rating.order == FASTEST and core.paces.is_news:
        core.rating = core.settings.rating.measured(core.paces.speeds())
    evictions.end_claims(core, now)
    leaving = evictions.Evictions(core, now, effects)
    offers: dict[str, Offering] = {}
    candidates: dict[int, _Places] = {}
    left = core.settings.grants_per_turn_max
    revision = core.fleet.revision
    is_packing = core.rating.order == PACK and bool(core.settings.order_window_ms)
    for bucket in core.buckets.ready(revision):
        if not left:
            break
        task = bucket.head()
        assert task is not None
        places = candidates.get(id(bucket))
        if places is None:
            places = candidates[id(bucket)] = _Places(core, bucket, now)
        choice = places.pick(task)
        if choice is None:
            leaving.make_room(task, places.nodes)
            bucket.blocked_at = revision
            continue
        taken = bucket
        if is_packing and is_part(bucket.key.request):
            beside = core.buckets.beside(task, revision)
            taken, task, choice = _better_fill(beside, bucket, task, choice)
        taken.pop()
        _grant(core, task, choice, now, effects, offers)
        left -= 1
    core.unplaced = not left or core.fleet.revision != revision  # room was kept, and is left
    effects.to_nodes += offers.values()


_Place = tuple[Choice, bool]
"""A choice, and whether it is only in the node's own queue."""


def _better_fill(
    others: list[tuple[int, Bucket]], bucket: Bucket, task: Task, place_: _Place
) -> tuple[Bucket, Task, _Place]:
    """Return what of the buckets beside should go onto the chosen card, or the task itself."""
    choice, _ = place_
    node, (uuid,) = choice.node, choice.gpus
    gap = node.cards[uuid].vram_free_bytes
    size = first_into(gap, [size for size, _ in others])
    if size is None or size == task.spec.request.vram_bytes:
        return bucket, task, place_
    for wanted, other in others:
        request = other.key.request
        if wanted == size and not refusal_now(node, request) and takes(node, uuid, request):
            head = other.head()
            assert head is not None
            return other, head, (Choice(node, request, (uuid,)), False)
    return bucket, task, place_


class _Places:
    """Where the tasks of one bucket can go in this turn."""

    def __init__(self, core: Core, bucket: Bucket, now: Now) -> None:
        self._core = core
        self._now = now
        self._request = bucket.key.request
        nodes = list(core.fleet.nodes.values())
        self._failed_it = bucket.key.avoid
        self._strict = bucket.key.strict
        if self._failed_it:
            passed_over = avoided(core.fleet, self._request, self._failed_it)
            nodes = [node for node in nodes if node.name not in passed_over]
        self.nodes = nodes
        self._options = [
            Candidates(nodes, each, core.rating) for each in core.options.of(self._request)
        ]
        self._ahead: list[tuple[float, str, Node]] | None = None

    def pick(self, task: Task) -> _Place | None:
        """Return where a task goes now, or None."""
        place = None
        for each in self._options:
            choice = each.pick()
            if choice is not None and not self._waits_for_warmth(task, choice):
                place = choice, False
                break
        if place is None and self._request.may_go_ahead:
            place = self._pick_ahead(task)
        if place is None or place[0].node.name not in self._failed_it:
            return place
        waits = self._strict and could_run(self._core.fleet, self._request, avoid=self._failed_it)
        return None if waits else place

    def _waits_for_warmth(self, task: Task, choice: Choice) -> bool:
        """Tell whether a call waits for a loaded model rather than have it loaded once more."""
        request = choice.request
        if not request.handler or warm.idle_seat(choice.node, request) is not None:
            return False
        until_ns = warmth.patient_until_ns(self._core, task, request, self.nodes, self._now)
        if until_ns is not None:
            self._core.warmth.wake(until_ns)
        return until_ns is not None

    def _pick_ahead(self, task: Task) -> _Place | None:
        """Send a tiny task ahead: as many as the node works off in `prefetch_ns`."""
        mean_ns = self._core.runtimes.mean_ns(task.spec.kind)
        if mean_ns is None:
            return None
        if self._ahead is None:
            self._ahead = [
                (len(node.backlog) / max(self._slots(node), 1), node.name, node)
                for node in self.nodes
                if node.takes_work and self._takes_ahead(node)
            ]
            heapq.heapify(self._ahead)
        settings = self._core.settings
        while self._ahead:
            _, name, node = self._ahead[0]
            slots = self._slots(node)
            credit = min(
                settings.prefetch_per_node_max,
                int(settings.prefetch_ns * slots / max(mean_ns, 1_000.0)),
            )
            if len(node.backlog) >= credit:
                heapq.heappop(self._ahead)
                continue
            heapq.heapreplace(self._ahead, ((len(node.backlog) + 1) / slots, name, node))
            return Choice(node, self._request, ()), True
        return None

    def _takes_ahead(self, node: Node) -> bool:
        request = self._request
        if may_ever(node, request) or request in node.shunned or node.exclusives:
            return False
        return self._slots(node) > 0

    def _slots(self, node: Node) -> int:
        """Count the tasks of this request that the node runs at a time."""
        if self._request.handler:
            return warm.calls_at_a_time(node, self._request)
        return max(node.capabilities.cpus_milli // max(self._request.cpus_milli, 1), 1)


def _grant(
    core: Core,
    task: Task,
    place_: _Place,
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
    task.attempt += 1
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
    core.warmth.since_ns.pop(task.id, None)
    if core.claims:
        evictions.drop(core, task.spec.request)
    limits.watch_start(core, task, now)
    asked = _asked(task, attempt)
    effects.commit.granted.append(
        AttemptGranted(
            task.id, attempt.number, node.name, core.epoch, choice.gpus, now.wall_ms, asked
        )
    )
    offering.grants.append(_granted(task, attempt, asked))


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
