"""Which places are kept for waiting tasks, and who may use them until those start?

The tasks that must end for a waiting one are written down, and nothing that ranks behind it begins
on its place unless it is almost surely over by the time that was foreseen. That time is never put
off: if what runs there takes longer, nothing more is let in but what is over within
`reserve_after`, and that only until the tasks that were there first are gone. So the place is free
once those have ended, and a little later at most. (It is the backfilling of D. Lifka, "The ANL/IBM
SP scheduling system", 1995, for unknown run times.) Who gets a place: `reserving.py`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..protocol.resources import Request
from . import forecast, shadow
from .buckets import FIRST, Rank
from .events import Now
from .feasible import may_ever
from .fleet import Node
from .placement import avoided, could_run
from .retry import waits_for_another
from .soonest import Begun, on_node
from .task import State, Task

if TYPE_CHECKING:
    from .core import Core

VAIN_NS = 90_000_000_000
"""A place that is free and still not taken is given up: something else is in the way."""
SHUNNED_NS = 300_000_000_000


@dataclass(slots=True)
class Reservation:
    """A place that is kept for a task: cards of a node (none: only its host's room).

    `blockers` are the tasks that must end first, `first` those that were there from the beginning.
    `start_ns` is when that will be, None where nobody knows; `promise_ns` the earliest that ever
    was. Others that rank behind its `rank` may use the place until `limit_ns`; `is_late` when the
    promise was not kept. `spare_ns` is how long that was at the last look, `seen` how the node was.
    """

    task: int
    request: Request
    node: str
    cards: tuple[str, ...]
    blockers: set[int]
    first: frozenset[int]
    since_ms: int
    start_ns: int | None
    rank: Rank = FIRST
    promise_ns: int | None = None
    limit_ns: int = 0
    is_late: bool = False
    spare_ns: int = 0
    seen: tuple[int, int] = (-1, -1)
    moves: int = 0
    free_since_ns: int | None = None


@dataclass(slots=True)
class Reservations:
    """All places that are kept, by task; who waits since when at the head of the queue.

    `in_vain` are nodes on which a place did not help a task, and until when that is remembered.
    """

    of: dict[int, Reservation] = field(default_factory=dict)
    on: dict[str, list[Reservation]] = field(default_factory=dict)
    waiting_ns: dict[int, int] = field(default_factory=dict)
    in_vain: dict[tuple[int, str], int] = field(default_factory=dict)
    due_ns: int | None = None
    now_ns: int = 0
    _shown: dict[tuple[str, tuple[int, ...]], tuple[int, Node]] = field(default_factory=dict)

    def begin(self, now: Now) -> None:
        """Begin a turn."""
        self.now_ns = now.mono_ns
        self._shown.clear()

    def shown(self, core: Core, node: Node, barring: list[Reservation]) -> Node:
        """Return what is not kept of a node; worked out once while nothing is entered there."""
        key = node.name, tuple(each.task for each in barring)
        entries, found = self._shown.get(key, (-1, node))
        if entries != node.entries:
            found = _without_kept(core, node, barring)
            self._shown[key] = node.entries, found
        return found

    def put(self, each: Reservation) -> None:
        self.of[each.task] = each
        self.on.setdefault(each.node, []).append(each)

    def take(self, task_id: int) -> Reservation | None:
        found = self.of.pop(task_id, None)
        if found is not None:
            self.on[found.node].remove(found)
            if not self.on[found.node]:
                del self.on[found.node]
        return found


# --- who may use a place -----------------------------------------------------------------------


class Asker:
    """A waiting task that looks at nodes on which places may be kept from it."""

    def __init__(self, core: Core, task: Task) -> None:
        self.core = core
        self.task = task

    @functools.cached_property
    def rank(self) -> Rank:
        return self.core.buckets.rank(self.task)

    @functools.cached_property
    def over_ns(self) -> int | None:
        """Return when it is almost surely over if it begins now; None: nobody knows."""
        longest_ns = forecast.longest_ns(self.core, self.task)
        return None if longest_ns is None else self.core.reservations.now_ns + longest_ns


def seen_by(asker: Asker, node: Node) -> Node:
    """Return what a task may see of a node: less than there is where a place is kept from it."""
    state = asker.core.reservations
    kept = state.on.get(node.name)
    if kept is None:
        return node
    barring = [each for each in kept if bars(each, asker)]
    return state.shown(asker.core, node, barring) if barring else node


def _without_kept(core: Core, node: Node, barring: list[Reservation]) -> Node:
    gone = {id_ for each in barring for id_ in each.blockers if id_ in node.held}
    found = shadow.after(node, gone)
    for each in barring:
        shadow.begin(found, core.tasks[each.task], each.request, each.cards)
    found = shadow.both(node, found)
    for each in barring:
        for uuid in each.cards:
            card = node.cards[uuid]
            leaves_room = each.request.vram_bytes + card.resident_bytes <= card.gpu.memory_bytes
            if each.request.gpus or not leaves_room:
                shadow.close(found, uuid, f"reserved for task {core.tasks[each.task].number}")
    return found


def bars(kept: Reservation, asker: Asker) -> bool:
    """Tell whether a place is kept from a task: it ranks behind, and may take too long."""
    if kept.task == asker.task.id or asker.rank < kept.rank:
        return False
    return asker.over_ns is None or asker.over_ns > kept.limit_ns


# --- what becomes of a place -------------------------------------------------------------------


def refresh(core: Core, now: Now) -> None:
    """See what has ended, and give up what is of no use any more; before anything is placed."""
    state = core.reservations
    state.begin(now)
    if not core.settings.reserve_after_ns:
        for task_id in list(state.of):
            drop(core, task_id)
    for each in list(state.of.values()):
        task, node = core.tasks.get(each.task), core.fleet.nodes.get(each.node)
        if task is None or node is None or not _is_good(core, each, task, node, now):
            drop(core, each.task)
            state.due_ns = now.mono_ns
        elif _is_in_vain(core, each, now):
            drop(core, each.task)
            _keep_away(state, each, now)
        else:
            foresee(core, each, node, now)


def _is_good(core: Core, kept: Reservation, task: Task, node: Node, now: Now) -> bool:
    """Tell whether a place is still one; what came to be in the way there is taken in."""
    if task.state is not State.QUEUED or kept.request not in core.options.of(task.spec.request):
        return False
    if not node.takes_work or node.name in passed_over(core, task, kept.request):
        return False
    seen = core.fleet.changed_at(node), node.entries
    if kept.seen == seen:
        return True
    if may_ever(node, kept.request):
        return False
    for uuid in kept.cards:
        card = node.cards.get(uuid)
        if card is None or card.closed or card.claimed_by not in (None, kept.request):
            return False
    kept.blockers &= node.held.keys()
    others = begun(core, node.name, but=task)
    plan = on_node(core, node, kept.request, now, others, gone=kept.blockers, only=kept.cards)
    if plan is None:
        return False
    kept.blockers |= plan.blockers
    kept.seen = seen
    return True


def _is_in_vain(core: Core, kept: Reservation, now: Now) -> bool:
    if kept.blockers or core.holds:  # while nothing is granted it cannot be taken
        kept.free_since_ns = None
    elif kept.free_since_ns is None:
        kept.free_since_ns = now.mono_ns
    return kept.free_since_ns is not None and now.mono_ns - kept.free_since_ns >= VAIN_NS


def _keep_away(state: Reservations, kept: Reservation, now: Now) -> None:
    state.in_vain[kept.task, kept.node] = now.mono_ns + SHUNNED_NS
    state.due_ns = now.mono_ns


def foresee(core: Core, kept: Reservation, node: Node, now: Now) -> None:
    """Work out when the place will be free, and until when others may use it."""
    ends = {id_: forecast.end_ns(core, node.held[id_], now) for id_ in kept.blockers}
    known = [end_ns for end_ns in ends.values() if end_ns is not None]
    is_known = len(known) == len(ends)
    kept.start_ns = max(known, default=now.mono_ns) if is_known else None
    if kept.start_ns is not None:
        promises = (each for each in (kept.promise_ns, kept.start_ns) if each is not None)
        kept.promise_ns = min(promises)
    promise_ns = kept.promise_ns or 0
    kept.is_late = False
    for id_ in kept.first & kept.blockers:
        end_ns = ends[id_]
        kept.is_late |= end_ns is None or end_ns > max(promise_ns, now.mono_ns)
    soon_ns = now.mono_ns + core.settings.reserve_after_ns if kept.is_late else 0
    kept.limit_ns = max(promise_ns, soon_ns)
    kept.rank = core.buckets.rank(core.tasks[kept.task])
    before_ns, kept.spare_ns = kept.spare_ns, kept.limit_ns - now.mono_ns
    if kept.spare_ns > before_ns:
        core.fleet.changed(node)  # what takes so long may begin there now


def drop(core: Core, task_id: int) -> None:
    """Keep no place for a task any more, if one was kept."""
    found = core.reservations.take(task_id)
    node = core.fleet.nodes.get(found.node) if found is not None else None
    if node is not None:
        core.fleet.changed(node)


def on_known(core: Core) -> None:
    """Take in that it is known of one more kind how long it runs: it may be over in time."""
    for name in core.reservations.on:
        core.fleet.changed(core.fleet.nodes[name])


def on_grant(core: Core, task: Task) -> None:
    """Take in that a task was given a place."""
    core.reservations.waiting_ns.pop(task.id, None)
    drop(core, task.id)


def begun(core: Core, name: str, *, but: Task) -> list[Begun]:
    """Return what is kept on a node as if it had begun, but for one task."""
    return [
        Begun(core.tasks[each.task], each.request, each.cards, each.blockers)
        for each in core.reservations.on.get(name, ())
        if each.task != but.id and each.task in core.tasks
    ]


def passed_over(core: Core, task: Task, request: Request) -> tuple[str, ...]:
    """Return the nodes that failed a task and to which it does not go back."""
    if not task.avoid:
        return ()
    if waits_for_another(core.settings.policies, task) and could_run(
        core.fleet, request, avoid=task.avoid
    ):
        return task.avoid
    return tuple(avoided(core.fleet, request, task.avoid))
