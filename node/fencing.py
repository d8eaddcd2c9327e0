"""Which tasks must end because their scheduler was not heard: fenced ones, once the lease is over.

The scheduler replaces a fenced task some time after it last heard this node. So the lease counts
from the moment at which we said what the scheduler then answered, never from when its answer came:
an answer that lay in a buffer for a minute renews nothing. Times are of CLOCK_BOOTTIME, which goes
on while the host sleeps.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..protocol.messages import Phase
from ..protocol.spec import TaskSpec
from .task import Attempt, Key

SAID_MAX = 256
"""Heartbeats of which the time is remembered; an answer to an older one renews nothing."""


@dataclass(slots=True)
class Fence:
    """The lease of the fenced tasks, and who they are.

    `lease_ns` 0: this scheduler fences nothing. `until_boot_ns` 0: none was given to this agent
    yet; then the runners, which know their own, decide alone.
    """

    lease_ns: int = 0
    now_boot_ns: int = 0
    until_boot_ns: int = 0
    knocked_boot_ns: int = 0
    said: dict[int, int] = field(default_factory=dict)
    attempts: dict[Key, Attempt] = field(default_factory=dict)

    def on_said(self, seq: int) -> None:
        """Note that a heartbeat leaves now."""
        self.said[seq] = self.now_boot_ns
        if len(self.said) > SAID_MAX:
            del self.said[next(iter(self.said))]

    def on_knock(self) -> None:
        """Note that REGISTER leaves now."""
        self.knocked_boot_ns = self.now_boot_ns

    def on_registered(self, fence_ms: int) -> bool:
        """Begin with a scheduler; tell whether the lease was renewed."""
        self.lease_ns = fence_ms * 1_000_000
        return self._renew(self.knocked_boot_ns)

    def on_desired(self, answers: int) -> bool:
        """Take in the answer to a heartbeat (0: it does not say to which)."""
        said_at = self.said.get(answers) if answers else self.now_boot_ns
        return said_at is not None and self._renew(said_at)

    def until_for(self, spec: TaskSpec) -> int:
        """Return until when a task may run that starts now; 0 for as long as it likes."""
        return self.until_boot_ns if is_fenced(spec) else 0

    def doomed(self) -> list[Attempt]:
        """Return the tasks that are to end now."""
        if not self.until_boot_ns or self.now_boot_ns < self.until_boot_ns:
            return []
        return [
            attempt
            for attempt in self.attempts.values()
            if attempt.phase != Phase.ENDED and not attempt.stop
        ]

    def _renew(self, from_boot_ns: int) -> bool:
        if not self.lease_ns:
            self.until_boot_ns = 0
            return False
        until = from_boot_ns + self.lease_ns
        is_longer = until > self.until_boot_ns
        self.until_boot_ns = max(self.until_boot_ns, until)
        return is_longer


def is_fenced(spec: TaskSpec) -> bool:
    """Tell whether a task is to end rather than to run unheard."""
    return spec.if_node_lost == "fence"
