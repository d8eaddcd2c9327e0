"""What does systemd hear of an agent, and what must it have done lately to be left alone?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..config.service import Service
from ..config.watchdog import Proof
from ..protocol.messages import Phase
from .membership import Membership
from .probe import Probe

# How late what is due may be done: a loop does it at once, a busy one some turns later.
LATE_NS = 10_000_000_000
# An agent that nobody lets in yet is up all the same: it adopts, keeps results, goes on trying.
READY_OUTSIDE_NS = 5_000_000_000


@dataclass(slots=True)
class Wellbeing:
    """Tells the service manager; the loop calls `tend` at the end of each turn.

    A driver that hangs is no reason to start an agent again, since the next one would find it
    hanging too: what counts is that a probe which does not answer is given up in time.
    """

    service: Service
    membership: Membership
    probe: Probe
    probe_every_ns: int
    began_ns: int

    def tend(self, now_ns: int) -> None:
        is_up = self.membership.is_inside or now_ns - self.began_ns >= READY_OUTSIDE_NS
        if is_up and not self.service.is_ready:
            self.service.ready(self.status())
        self.service.tend(now_ns, self.status, lambda: self.proofs(now_ns))

    def proofs(self, now_ns: int) -> Sequence[Proof]:
        given_up_by = self.probe.overdue_ns(now_ns)
        return (
            Proof("the scheduler called when it was due",
                  min(now_ns, self.membership.deadline()), LATE_NS),
            Proof("a GPU probe that does not answer given up",
                  min(now_ns, given_up_by), LATE_NS + self.probe_every_ns),
        )  # fmt: skip

    def status(self) -> str:
        """Say in one line whom the node serves and what it has."""
        core = self.membership.core
        held = sum(1 for each in core.state.attempts.values() if each.phase != Phase.ENDED)
        owed = len(core.state.outbox.entries)
        said = f"{held} tasks here" + (f", {owed} results to be taken" if owed else "")
        address = self.membership.address
        where = address.control if address is not None else "its scheduler"
        if self.membership.is_inside:
            return f"registered at {where}: {said}"
        why = self.membership.complaint or "no answer yet"
        return f"not registered, trying {where} ({why}): {said}"

    def stopping(self, what_becomes: str) -> None:
        self.service.stopping(f"stopping: {what_becomes}")
