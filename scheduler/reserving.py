"""For which waiting tasks is a place to be kept, and where?

Small tasks find room all the time, so they would overtake for ever what waits for a whole GPU, for
several, or for a node alone. What has waited at the head of the queue for `reserve_after` is given
the place where it could start soonest.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import TYPE_CHECKING

from .events import Now
from .fleet import is_part
from .reservations import Reservation, begun, drop, foresee, passed_over
from .soonest import Plan, soonest
from .task import State, Task

if TYPE_CHECKING:
    from .core import Core

LOOKED_AT_MAX = 64
"""So many heads of the queue are looked at for whether they wait for too long."""
LOOKS = 4
"""Looks at the queue in `reserve_after`."""
LOOK_NS_MIN = 1_000_000_000
MOVES_MAX = 8
MOVE_GAIN_NS = 30_000_000_000
"""A place is changed only for one that is free so much earlier, and not often."""
PLANS_MAX = 8
"""So many places are looked for in one look."""


def look(core: Core, now: Now) -> None:
    """Keep places for the heads of the queue that have waited long enough; after all is placed."""
    state, after_ns = core.reservations, core.settings.reserve_after_ns
    if not after_ns or not core.settings.reservations_max:
        return
    if not core.counts[State.QUEUED]:
        state.waiting_ns.clear()
        state.due_ns = None
        return
    every_ns = max(after_ns // LOOKS, LOOK_NS_MIN)
    if state.due_ns is None:
        state.due_ns = now.mono_ns + every_ns
    if now.mono_ns < state.due_ns:
        return
    state.due_ns = now.mono_ns + every_ns
    heads = [task for task in core.buckets.heads() if not task.spec.request.handler]
    first = heapq.nsmallest(LOOKED_AT_MAX, heads, key=core.buckets.rank)
    known = state.waiting_ns
    state.waiting_ns = {task.id: known.get(task.id, now.mono_ns) for task in first}
    state.in_vain = {key: at for key, at in state.in_vain.items() if at > now.mono_ns}
    _move(core, now)
    tries = PLANS_MAX
    batches = {_batch(core, core.tasks[task_id]) for task_id in state.of}
    for task in first:
        if len(state.of) >= core.settings.reservations_max or not tries:
            return
        if _batch(core, task) in batches:
            continue
        if now.mono_ns - state.waiting_ns[task.id] >= after_ns:
            tries -= 1
            plan = _plan(core, task, now)
            if plan is None:
                state.waiting_ns[task.id] = now.mono_ns
            else:
                _reserve(core, task, plan, now)
                batches.add(_batch(core, task))


def _batch(core: Core, task: Task) -> Hashable:
    """Return what has one place kept at a time: a task, or what one owner submitted in a window.

    The latter is for parts of cards. They fill cards in an order of their own (see `fills.py`),
    in which many places kept for those of the highest rank would get in the way.
    """
    if core.settings.order_window_ms and is_part(task.spec.request):
        return task.spec.owner, *core.buckets.rank(task)[:2]
    return task.id


def _plan(core: Core, task: Task, now: Now) -> Plan | None:
    state, request = core.reservations, task.spec.request
    others = {name: begun(core, name, but=task) for name in state.on}
    not_on = {name for task_id, name in state.in_vain if task_id == task.id}
    not_on.update(passed_over(core, task, request))
    return soonest(core, core.options.of(request), now, others, not_on)


def _reserve(core: Core, task: Task, plan: Plan, now: Now) -> Reservation:
    kept = Reservation(
        task.id, plan.request, plan.node, plan.cards, set(plan.blockers), plan.blockers,
        now.wall_ms, plan.start_ns,
    )  # fmt: skip
    core.reservations.put(kept)
    foresee(core, kept, core.fleet.nodes[plan.node], now)
    return kept


def _move(core: Core, now: Now) -> None:
    """Change a place for one that is free much earlier, as far as that is known."""
    for kept in list(core.reservations.of.values()):
        start_ns = kept.start_ns
        if kept.moves >= MOVES_MAX or (
            start_ns is not None and start_ns < now.mono_ns + MOVE_GAIN_NS
        ):
            continue
        task = core.tasks[kept.task]
        plan = _plan(core, task, now)
        if plan is None or plan.start_ns is None or plan.node == kept.node:
            continue
        if start_ns is None or plan.start_ns + MOVE_GAIN_NS <= start_ns:
            drop(core, kept.task)
            moved = _reserve(core, task, plan, now)
            moved.moves, moved.since_ms = kept.moves + 1, kept.since_ms
            if kept.promise_ns is not None:
                moved.promise_ns = min(kept.promise_ns, plan.start_ns)
                foresee(core, moved, core.fleet.nodes[plan.node], now)
