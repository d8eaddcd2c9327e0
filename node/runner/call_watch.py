"""When to look at a worker's running call, and what is to be said or done about it then."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from ...worker import batches
from ...worker.frames import Failure, Started
from .open_calls import OpenCalls, Running

STARTED_AFTER_S = 0.1
CONFIRM_S = 0.002
"""A call that has not begun this long after it was marked will never begin."""


@dataclass(frozen=True, slots=True)
class Culprit:
    """The call for which a worker is ended, and what its outcome will say."""

    key: bytes
    failure: Failure


class CallWatch:
    """Compares the shared page with what is open; `next_at` is when to look again."""

    def __init__(self, calls: OpenCalls) -> None:
        self.next_at = math.inf
        self._calls = calls
        self._said = 0

    def soon(self, after_s: float = STARTED_AFTER_S) -> None:
        """Look again within `after_s`: something changed."""
        self.next_at = min(self.next_at, time.monotonic() + after_s)

    def look(self, now: float) -> Culprit | Running | None:
        """Return the call to end the worker for, a call to announce, or None."""
        self.next_at = math.inf
        if not self._calls:
            return None
        running = self._calls.running()
        if running is None:
            # Between two calls, or the answer is on its way.
            self.soon()
            return None
        call = running.call
        began_at = running.started_ns / 1e9
        timeout_at = began_at + call.timeout_ms / 1000 if call.timeout_ms else math.inf
        if call.kill_at <= now:
            return Culprit(running.key, Failure("cancelled", "", "killed: it was cancelled"))
        if timeout_at <= now:
            text = f"ran longer than {call.timeout_ms / 1000} s"
            return Culprit(running.key, Failure("timeout", "", text))
        said = self._said == call.number
        say_at = math.inf if said else began_at + STARTED_AFTER_S
        if say_at <= now:
            self._said = call.number
            self.next_at = min(call.kill_at, timeout_at)
            return running
        self.next_at = min(call.kill_at, timeout_at, say_at)
        return None


def started(running: Running, pid: int) -> Started:
    """Describe the start of a call, for the agent."""
    wall_ns = time.time_ns() - (time.monotonic_ns() - running.started_ns)
    return Started(*batches.split_key(running.key), pid, wall_ns)
