"""When will a task be over, as far as anybody knows: by runs of its kind, or by its time limit?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..protocol.resources import learning_key
from .events import Now
from .task import State, Task

if TYPE_CHECKING:
    from .core import Core

SLACK_NS = 2_000_000_000
"""So long may pass beside a run itself, for its start and for the word of its end."""
_NS_PER_MS = 1_000_000


def mean_ns(core: Core, task: Task) -> int | None:
    """Return how long a task is expected to run; None: nobody knows."""
    spec, known = task.spec, core.runtimes
    found = known.mean_ns(learning_key(spec.kind, spec.size_class)) if spec.size_class else None
    return known.mean_ns(spec.kind) if found is None else found


def longest_ns(core: Core, task: Task) -> int | None:
    """Return in what time a task is almost surely over; None: nobody knows."""
    spec, known = task.spec, core.runtimes
    found = known.enough_ns(learning_key(spec.kind, spec.size_class)) if spec.size_class else None
    enough_ns = known.enough_ns(spec.kind) if found is None else found
    limits = (each for each in (enough_ns, _limit_ns(task)) if each is not None)
    shortest_ns = min(limits, default=None)
    return None if shortest_ns is None else shortest_ns + SLACK_NS


def end_ns(core: Core, task: Task, now: Now) -> int | None:
    """Return the monotonic time at which a task that a node holds will be over; None: unknown.

    One that has run for longer than its kind does on average is taken to end when almost all are
    over, and one that runs for longer than that when its time limit ends it.
    """
    attempt = task.live
    assert attempt is not None
    if task.state is State.STOPPING:
        grace_ms = task.grace_ms if task.grace_ms >= 0 else task.spec.policy.grace_ms
        return now.mono_ns + grace_ms * _NS_PER_MS
    since_ns = attempt.started_ns or now.mono_ns
    limit_ns = _limit_ns(task)
    if limit_ns is not None:
        limit_ns += SLACK_NS
    for run_ns in (mean_ns(core, task), longest_ns(core, task), limit_ns):
        if run_ns is not None:
            over_ns = since_ns + (run_ns if limit_ns is None else min(run_ns, limit_ns))
            if over_ns > now.mono_ns:
                return over_ns
    return None


def pace(core: Core, task: Task) -> int:
    """Return the order of a task's run time: an integer that seldom changes, to sort tasks by.

    Below 0 it is that of the task's time limit, where nothing is known of its kind; 0: neither is.
    """
    found_ns = mean_ns(core, task)
    if found_ns is not None:
        return max(_half_octave(found_ns), 1)
    limit_ns = _limit_ns(task)
    return 0 if limit_ns is None else -_half_octave(limit_ns)


def _half_octave(number: int) -> int:
    bits = number.bit_length()
    return 2 * bits + (number >> (bits - 2) & 1) if bits > 1 else bits


def _limit_ns(task: Task) -> int | None:
    policy = task.spec.policy
    return (policy.timeout_ms + policy.grace_ms) * _NS_PER_MS if policy.timeout_ms else None
