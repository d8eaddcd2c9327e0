"""Which nodes and GPUs eat the queue: different tasks fail there fast that do well elsewhere.

A fast failure of its own counts against the place that had the task: its node, and each of its
GPUs. A success there wipes them out. From the second different task on the place is suspected: what
fails there, and may be tried again, is tried elsewhere, charged nothing. That is a second opinion:
a task that fails elsewhere as well is bad itself, and counts against no place; one that does well
speaks against the place that failed it. Enough different ones with one such witness, or twice as
many without, and the place gets no more work: a GPU is cordoned, a node drained. After a while it
is given work again; then a single failure is enough, until a success. Tasks that nobody else could
take judge nobody, so a lone node is never a black hole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from . import cordons, life
from .events import Now
from .feasible import may_ever
from .fleet import Drain
from .records import CordonRow, Effects, Note
from .task import Attempt, State, Task
from .vacancy import matching

if TYPE_CHECKING:
    from .core import Core

COUNTED = frozenset({"exit_code", "exception", "worker_died", "model_unavailable"})
SUSPECTED_AT = 2
WITHOUT_WITNESS = 2
"""So many times as many different tasks are needed where none has done well elsewhere yet.

Tasks without retries are never tried elsewhere, so that no witness comes of them: they alone stop a
place after six. Fewer would stop the node on which somebody tries a command until it works.
"""
BAD_MAX = 1_024
AVOIDED_MAX = 16
REASON = "black hole:"


@dataclass(frozen=True, slots=True)
class Rules:
    """`after` different tasks (0: never) that each ran for at most `run_us`; then `hold_ns`."""

    after: int = 3
    run_us: int = 10_000_000
    hold_ns: int = 300 * 1_000_000_000
    hold_ns_max: int = 3_600 * 1_000_000_000


class Place(NamedTuple):
    """A node, or one GPU of it."""

    node: str
    gpu: str = ""


@dataclass(slots=True)
class Failure:
    """The fast failure of one spec at a place; `has_witness`: it did well elsewhere since."""

    task: int
    is_charged: bool = False
    has_witness: bool = False


@dataclass(slots=True)
class Streak:
    """What failed at a place since its last success, by spec.

    It is held until `due_ns` (0: it is not), and after that on probation; `hold_ns` is how long the
    next hold lasts.
    """

    failures: dict[int, Failure] = field(default_factory=dict)
    due_ns: int = 0
    hold_ns: int = 0
    on_probation: bool = False

    @property
    def is_suspected(self) -> bool:
        return len(self.failures) >= SUSPECTED_AT or self.on_probation or bool(self.due_ns)


@dataclass(slots=True)
class BlackHoles:
    """The streaks of places, tasks that are to be judged elsewhere, and specs known to be bad."""

    streaks: dict[Place, Streak] = field(default_factory=dict)
    excused: dict[int, tuple[Place, ...]] = field(default_factory=dict)
    bad: dict[int, None] = field(default_factory=dict)

    def due_ns(self) -> int | None:
        """Return when the next hold is over."""
        return min((each.due_ns for each in self.streaks.values() if each.due_ns), default=None)

    def forgive(self, node: str, gpu: str = "") -> None:
        """Forget what spoke against a node with its GPUs, or against one GPU: a person decides."""
        for place in [each for each in self.streaks if each.node == node and gpu in ("", each.gpu)]:
            del self.streaks[place]

    def suspects(self, node: str, gpu: str) -> bool:
        """Tell whether a GPU is suspected."""
        streak = self.streaks.get(Place(node, gpu))
        return streak is not None and streak.is_suspected


def recover(core: Core, now: Now) -> None:
    """Hold what was held before, for as long as a first hold lasts."""
    rules = core.settings.black_holes
    for node in core.fleet.nodes.values():
        if node.drain and node.drain.reason.startswith(REASON):
            core.black_holes.streaks[Place(node.name)] = _held(rules.hold_ns, now)
    for row in core.cordons.values():
        if row.principal == cordons.BY_BLACK_HOLE:
            core.black_holes.streaks[Place(row.node, row.uuid)] = _held(rules.hold_ns, now)


def _held(hold_ns: int, now: Now) -> Streak:
    return Streak(due_ns=now.mono_ns + hold_ns, hold_ns=2 * hold_ns)


def on_failure(
    core: Core, task: Task, attempt: Attempt, code: str, run_us: int, now: Now, effects: Effects
) -> bool:
    """Take in a failure; tell whether it is excused: tried elsewhere, and charged nothing."""
    rules, known = core.settings.black_holes, core.black_holes
    first = known.excused.pop(task.id, None)
    if first is not None:  # the second opinion agrees with the first
        _clear(core, task.spec.spec_id, first)
        return False
    is_own = code in COUNTED and run_us <= rules.run_us and not attempt.prefetched
    if not rules.after or not is_own or task.spec.spec_id in known.bad:
        return False
    if not _could_go_elsewhere(core, task, attempt):
        return False
    places = places_of(attempt)
    failure = Failure(task.id)
    for place in places:
        known.streaks.setdefault(place, Streak()).failures.setdefault(task.spec.spec_id, failure)
    is_suspected = any(known.streaks[place].is_suspected for place in places)
    failure.is_charged = not is_suspected or _wants_no_other_run(task, code)
    if not failure.is_charged:
        known.excused[task.id] = places
        task.avoid = (*(n for n in task.avoid if n != attempt.node), attempt.node)[-AVOIDED_MAX:]
    for place in reversed(places):  # GPUs first: what a GPU explains is not held against its node
        _judge_place(core, place, now, effects)
    cordons.apply(core, core.fleet.nodes[attempt.node])
    return not failure.is_charged


def places_of(attempt: Attempt) -> tuple[Place, ...]:
    """Return the node of an attempt, and its GPUs."""
    return (Place(attempt.node), *(Place(attempt.node, uuid) for uuid in attempt.gpus))


def _wants_no_other_run(task: Task, code: str) -> bool:
    """Tell whether a task asked not to be run again after its own errors."""
    policy = task.spec.policy
    return not policy.retries or policy.if_node_lost == "fail" or code in policy.never_on


def _clear(core: Core, spec_id: int, places: Sequence[Place]) -> None:
    """Hold a task that is bad itself against no place, now or later."""
    bad = core.black_holes.bad
    if len(bad) >= BAD_MAX:
        del bad[next(iter(bad))]
    bad[spec_id] = None
    for place in places:
        streak = core.black_holes.streaks.get(place)
        if streak is not None:
            streak.failures.pop(spec_id, None)


def _could_go_elsewhere(core: Core, task: Task, attempt: Attempt) -> bool:
    """Tell whether another node, or another GPU of this one, could give a second opinion."""
    request = task.spec.request
    passed_over = (attempt.node, *task.avoid)
    others = [node for node in core.fleet.nodes.values() if node.name not in passed_over]
    if any(node.takes_work and not may_ever(node, request) for node in others):
        return True
    if not attempt.gpus:
        return False
    node = core.fleet.nodes[attempt.node]
    cards = [
        card
        for card in matching(node, attempt.request)
        if card.gpu.uuid not in attempt.gpus
        and not card.closed
        and not core.black_holes.suspects(node.name, card.gpu.uuid)
    ]
    return len(cards) >= attempt.request.cards


def on_success(core: Core, task: Task, attempt: Attempt, now: Now, effects: Effects) -> None:
    """Take in that a task did well: that absolves its place, and may speak against another."""
    known = core.black_holes
    if not (known.streaks or known.excused):
        return
    for place in places_of(attempt):
        streak = known.streaks.get(place)
        if streak is not None and not streak.due_ns:
            del known.streaks[place]
            if streak.on_probation:
                _note(effects, "info", "black hole is over", place)
    for place in reversed(known.excused.pop(task.id, ())):
        streak = known.streaks.get(place)
        if streak is not None and task.spec.spec_id in streak.failures:
            streak.failures[task.spec.spec_id].has_witness = True
            _judge_place(core, place, now, effects)
    cordons.apply(core, core.fleet.nodes[attempt.node])


def _judge_place(core: Core, place: Place, now: Now, effects: Effects) -> None:
    """Give a place no more work once enough speaks against it."""
    streak = core.black_holes.streaks.get(place)
    if streak is None or streak.due_ns:
        return
    after, count = core.settings.black_holes.after, len(streak.failures)
    has_witness = any(each.has_witness for each in streak.failures.values())
    is_enough = (has_witness and count >= after) or count >= after * WITHOUT_WITNESS
    if not is_enough and not (streak.on_probation and count):
        return
    reason = _reason(count, has_witness=has_witness)
    if streak.on_probation:
        reason = f"{REASON} it was given work again, and failed again"
    node = core.fleet.nodes[place.node]
    _refund(core, streak, now, effects)
    if not place.gpu:
        if node.drain is None:
            node.drain = Drain(reason, now.wall_ms, 0)
            core.fleet.changed(node)
            core.write_node(node, effects)
    elif place.gpu not in core.cordons:
        row = CordonRow(place.gpu, node.name, reason, cordons.BY_BLACK_HOLE, now.wall_ms)
        cordons.put(core, row, effects)
        _explained(core, place, streak)
    _note(effects, "error", "black hole", place, why=reason)
    rules = core.settings.black_holes
    hold_ns = min(streak.hold_ns or rules.hold_ns, rules.hold_ns_max)
    core.black_holes.streaks[place] = _held(hold_ns, now)


def _reason(count: int, *, has_witness: bool) -> str:
    elsewhere = ", and did well elsewhere" if has_witness else ""
    return f"{REASON} {count} different tasks in a row failed fast here{elsewhere}"


def _refund(core: Core, streak: Streak, now: Now, effects: Effects) -> None:
    """Give back the tries that the place used up."""
    for failure in streak.failures.values():
        task = core.tasks.get(failure.task)
        if failure.is_charged and task is not None and task.charged:
            failure.is_charged = False
            task.charged -= 1
            if task.state in (State.WAITING, State.QUEUED):
                left_ms = max(task.due_ns - now.mono_ns, 0) // 1_000_000
                is_waiting = task.state is State.WAITING
                due_ms = now.wall_ms + left_ms if is_waiting else 0
                life.record_position(task, effects, due_ms=due_ms)


def _explained(core: Core, place: Place, streak: Streak) -> None:
    """Hold what its GPU explains not against a node as well."""
    whole = core.black_holes.streaks.get(Place(place.node))
    if whole is not None and not whole.due_ns:
        for spec_id in streak.failures:
            whole.failures.pop(spec_id, None)


def judge(core: Core, now: Now, effects: Effects) -> None:
    """Give places work again whose hold is over, on probation."""
    for place, streak in core.black_holes.streaks.items():
        if not streak.due_ns or now.mono_ns < streak.due_ns:
            continue
        streak.due_ns, streak.on_probation = 0, True
        node, row = core.fleet.nodes.get(place.node), core.cordons.get(place.gpu)
        if not place.gpu and node is not None and node.drain is not None:
            if node.drain.reason.startswith(REASON):
                node.drain = None
                core.fleet.changed(node)
                core.write_node(node, effects)
        elif row is not None and row.principal == cordons.BY_BLACK_HOLE:
            cordons.lift(core, row, effects, "it is tried again")
        _note(effects, "info", "black hole is tried again", place)


def _note(effects: Effects, level: str, event: str, place: Place, **facts: object) -> None:
    which = {"gpu": place.gpu} if place.gpu else {}
    effects.notes.append(Note(level, event, {"node": place.node, **which, **facts}))
