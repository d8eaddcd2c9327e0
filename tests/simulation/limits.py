"""How a runner ends a task that ran out of its time, whether or not an agent lives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from remuda.node.task import FENCED
from remuda.protocol.messages import Outcome

from .agenda import MS

if TYPE_CHECKING:
    from .host import Host, Runner, Work

TIMEOUT = "timeout"
OUTCOMES = {FENCED: Outcome.RETURNED, TIMEOUT: Outcome.FAILED, "cancelled": Outcome.KILLED}
"""How a work counts that was ended for a reason: a fenced one goes back uncharged."""


def watch_timeout(host: Host, runner: Runner, work: Work) -> None:
    """Watch the timeout of a work that begins now."""

    def over() -> None:
        if _is_held(runner, work):
            work.how = TIMEOUT
            host.stop(runner, work.key, work.grace_ns)

    if work.timeout_ns:
        host.agenda.after(work.timeout_ns, over)


def watch_fence(host: Host, runner: Runner, work: Work) -> None:
    """Watch the fence of a work for as long as it has one."""

    def look() -> None:
        if not _is_held(runner, work):
            return
        if host.clock.mono_ns(host.agenda.now_ns) < work.fence_ns:
            watch_fence(host, runner, work)
        elif work.run is None:
            host.answer(runner, work, Outcome.RETURNED, FENCED)
        else:
            work.how = FENCED
            host.stop(runner, work.key, work.grace_ns)

    if work.fence_ns:
        host.agenda.at(host.clock.true_ns(work.fence_ns) + MS, look)


def renew_fences(runner: Runner, until_ns: int) -> None:
    """Put the fences of a runner off, never nearer."""
    for work in runner.works.values():
        if work.fence_ns:
            work.fence_ns = max(work.fence_ns, until_ns)


def _is_held(runner: Runner, work: Work) -> bool:
    return runner.alive and runner.works.get(work.key) is work
