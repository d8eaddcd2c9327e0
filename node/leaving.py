"""How does the agent end: leave its runners at work, or hand everything back and leave nothing?"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType

from ..config.logs import get_logger
from ..protocol.messages import Phase
from ..worker.frames import Exit
from . import stops
from .crew import Order
from .stage import Stage

FLUSH_NS = 1_500_000_000  # how long a stopping agent tries to send its results
TREES_NS = 5_500_000_000  # how long it waits for the trees that it ends
RUNNERS_NS = 1_500_000_000
GRACE_MS = 1_000


@dataclass(slots=True)
class Wishes:
    """What signals asked for."""

    stop: bool = False
    hand_back: bool = False
    reload: bool = False


@dataclass(slots=True)
class Leaving:
    """Go through the steps of an end; each has its time."""

    stage: Stage
    on_leaving: Callable[[str], None]
    wishes: Wishes = field(default_factory=Wishes)
    _step: str = ""
    _until: int = 0

    def is_over(self, now: int, *, is_inside: bool) -> bool:
        """Tell whether the agent may end now."""
        if self.wishes.hand_back and self._step in ("", "flush"):
            get_logger().info("stopping", hand_back=True)
            self.on_leaving("tasks go back to the queue")
            stops.hand_back(self.stage.state, GRACE_MS)
            self._go_to("trees", now, TREES_NS)
        elif self.wishes.stop and not self._step:
            get_logger().info("stopping", hand_back=False)
            self.on_leaving("tasks run on")
            stops.hand_over(self.stage.state)
            self._go_to("flush", now, FLUSH_NS)
        state = self.stage.state
        if self._step == "flush":
            return not (state.outbox.entries and is_inside) or now >= self._until
        living = any(attempt.phase != Phase.ENDED for attempt in state.attempts.values())
        if self._step == "trees" and (not living or now >= self._until):
            self._go_to("results", now, FLUSH_NS)
        if self._step == "results" and (
            not (state.outbox.entries and is_inside) or now >= self._until
        ):
            for seat in self.stage.crew.seats:
                self.stage.crew.tell(seat, Order(Exit(grace_s=GRACE_MS / 1000)))
            self._go_to("runners", now, RUNNERS_NS)
        return self._step == "runners" and (not self.stage.crew.seats or now >= self._until)

    @property
    def deadline(self) -> int | None:
        return self._until or None

    def _go_to(self, step: str, now: int, time_ns: int) -> None:
        self._step, self._until = step, now + time_ns


def watch_signals(wishes: Wishes) -> int:
    """Note signals, and wake the poller; return the descriptor that becomes readable."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        wishes.stop = True

    def hand_back(_number: int, _frame: FrameType | None) -> None:
        wishes.hand_back = True

    def reload(_number: int, _frame: FrameType | None) -> None:
        wishes.reload = True

    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number, handler in (
        (signal.SIGTERM, stop),
        (signal.SIGINT, hand_back),
        (signal.SIGUSR2, hand_back),
        (signal.SIGHUP, reload),
    ):
        signal.signal(number, handler)
    return reader
