"""The loop of a runner: wait, act, look at the time, and exit when nobody needs it any more."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path

from .connection import Server
from .execs import Execs
from .orders import Orders
from .outbox import Outbox
from .poller import Poller
from .slot import Slot
from .unkillable import Unkillable

EXIT_ACK_S = 2.0
"""How long an exiting runner waits for the acknowledgement of its last answers."""


class Runner:
    """Ties socket, slot and outbox together."""

    def __init__(
        self, directory: Path, *, idle_s: float, locks: Mapping[str, int], own_cgroup: str
    ) -> None:
        self._idle_s = idle_s
        self._poller = Poller()
        self._outbox = Outbox(directory)
        self._slot = Slot(self._poller, locks, Execs(self._poller, self._outbox.say), own_cgroup)
        self._orders = Orders(directory, self._poller, self._slot, self._outbox, own_cgroup)
        self._unkillable = Unkillable(self._slot, self._orders.limits, self._outbox.say)
        self._server = Server(
            directory,
            self._poller,
            self._orders.on_frame,
            on_attached=self._on_attached,
            on_drained=self._outbox.pump,
        )

    def run(self) -> None:
        """Serve until idle for long enough or told to exit."""
        while not self._is_over(time.monotonic()):
            deadline = min(self._slot.deadline(), self._unkillable.deadline(), self._exit_at())
            wait_s = deadline - time.monotonic()
            self._poller.poll(max(0.0, wait_s) if wait_s < math.inf else None)
            self._slot.on_time(time.monotonic())
            self._unkillable.on_time(time.monotonic())
        self._server.close()

    def _on_attached(self) -> None:
        connection = self._server.connection
        assert connection is not None
        self._orders.limits.forget()
        self._unkillable.forget()
        hello = self._orders.hello()
        self._outbox.attach(connection, hello, list(self._slot.locks.values()))

    def _exit_at(self) -> float:
        """Return when the runner exits if nothing more happens."""
        if self._slot.occupant is not None:
            return math.inf
        if self._orders.stopping:
            return self._slot.idle_since + EXIT_ACK_S
        return self._slot.idle_since + self._idle_s if self._outbox.answers.empty() else math.inf

    def _is_over(self, now: float) -> bool:
        if self._slot.occupant is not None:
            return False
        if self._orders.stopping and (self._outbox.answers.empty() or not self._outbox.is_heard):
            return True
        return now >= self._exit_at()
