"""Which limits of its time does the scheduler watch: a task's deadline, its wait, its start?

A deadline and the end of a wait in the queue are wall time: they hold over restarts and follow a
clock that is set. The time to start counts from the grant.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from . import life, stopping
from .events import Now
from .records import Effects
from .task import State, StopReason, Task

if TYPE_CHECKING:
    from .core import Core

CLOCK_SET_NS = 1_000_000_000
"""A wall clock that moved by more against the monotonic one was set."""


class Limit(IntEnum):
    """What runs out."""

    EXPIRES = 0
    DEADLINE = 1
    START = 2


@dataclass(slots=True)
class Limits:
    """All limits that may run out: (monotonic time, wall ms or attempt, number, task, limit)."""

    heap: list[tuple[int, int, int, int, Limit]] = field(default_factory=list)
    wall_minus_mono_ns: int | None = None

    @property
    def due_ns(self) -> int | None:
        return self.heap[0][0] if self.heap else None


def watch(core: Core, task: Task, now: Now) -> None:
    """Watch the deadline and the expiry of a task that came in, or came back after a start."""
    policy = task.spec.policy
    if policy.deadline_ms:
        _push_wall(core, task, policy.deadline_ms, Limit.DEADLINE, now)
    watch_wait(core, task, now)


def watch_wait(core: Core, task: Task, now: Now) -> None:
    """Watch that a task does not wait in the queue for too long before it begins."""
    expires_ms = task.spec.policy.expires_ms
    if expires_ms and not task.has_begun:
        _push_wall(core, task, task.created_ms + expires_ms, Limit.EXPIRES, now)


def watch_start(core: Core, task: Task, now: Now) -> None:
    """Watch that an attempt starts in time."""
    start_ms = task.spec.policy.start_timeout_ms
    if start_ms:
        due_ns = now.mono_ns + start_ms * 1_000_000
        entry = (due_ns, task.attempt, task.number, task.id, Limit.START)
        heapq.heappush(core.limits.heap, entry)


def _push_wall(core: Core, task: Task, due_ms: int, limit: Limit, now: Now) -> None:
    due_ns = now.mono_ns + max(due_ms * 1_000_000 - now.wall_ns, 0)
    heapq.heappush(core.limits.heap, (due_ns, due_ms, task.number, task.id, limit))


def judge(core: Core, now: Now, effects: Effects) -> None:
    """End, or stop, what ran out of its time."""
    limits = core.limits
    _follow_clock(core, now)
    while limits.heap and limits.heap[0][0] <= now.mono_ns:
        _, detail, _, task_id, limit = heapq.heappop(limits.heap)
        task = core.tasks.get(task_id)
        if task is not None:
            _run_out(core, task, limit, detail, now, effects)


def _follow_clock(core: Core, now: Now) -> None:
    """Put the wall limits where they belong after the wall clock was set."""
    limits = core.limits
    offset_ns = now.wall_ns - now.mono_ns
    known_ns, limits.wall_minus_mono_ns = limits.wall_minus_mono_ns, offset_ns
    if known_ns is None or abs(offset_ns - known_ns) < CLOCK_SET_NS or not limits.heap:
        return
    limits.heap = [
        entry
        if entry[4] is Limit.START
        else (now.mono_ns + max(entry[1] * 1_000_000 - now.wall_ns, 0), *entry[1:])
        for entry in limits.heap
    ]
    heapq.heapify(limits.heap)


def _run_out(core: Core, task: Task, limit: Limit, detail: int, now: Now, effects: Effects) -> None:
    if limit is Limit.START:
        if task.state is not State.ASSIGNED or task.attempt != detail:
            return
        if task.live is not None and task.live.prefetched:
            watch_start(core, task, now)  # in the node's own queue it has no slot to start in
        else:
            stopping.stop(core, [task], StopReason.START_TIMEOUT, now, effects)
    elif limit is Limit.EXPIRES:
        if task.state is State.QUEUED and not task.has_begun:
            life.fail_for_time(core, task, now, effects, "expired")
    elif task.state in (State.WAITING, State.QUEUED):
        life.fail_for_time(core, task, now, effects, "deadline")
    elif task.state is not State.STOPPING:
        stopping.stop(core, [task], StopReason.DEADLINE, now, effects)
