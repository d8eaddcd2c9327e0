"""How a runner ends a fenced task by itself, whether or not an agent lives."""

from __future__ import annotations

from remuda.node.task import FENCED
from remuda.protocol.messages import Outcome

from .agenda import MS
from .host import Host, Runner, Work


def guard(host: Host, runner: Runner, work: Work) -> None:
    """Watch the fence of a work for as long as it has one."""
    if work.fence_ns:
        at_ns = host.clock.true_ns(work.fence_ns) + MS
        host.agenda.at(at_ns, lambda: _look(host, runner, work))


def renew(runner: Runner, until_ns: int) -> None:
    """Put the fences of a runner off, never nearer."""
    for work in runner.works.values():
        if work.fence_ns:
            work.fence_ns = max(work.fence_ns, until_ns)


def _look(host: Host, runner: Runner, work: Work) -> None:
    if not runner.alive or runner.works.get(work.key) is not work:
        return
    if host.clock.mono_ns(host.agenda.now_ns) < work.fence_ns:
        guard(host, runner, work)
    elif work.run is None:
        host.answer(runner, work, Outcome.RETURNED, FENCED)
    else:
        work.how = FENCED
        host.stop(runner, work.key, work.grace_ns)
