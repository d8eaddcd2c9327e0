"""When to look at a worker's running call, and what is to be said or done about it then."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from ...worker import batches
from ...worker.frames import Failure, Started
from .open_calls import FENCED, OpenCalls, Running

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
        self._heard_at = 0.0

    def soon(self, after_s: float = STARTED_AFTER_S) -> None:
        """Look again within `after_s`: something changed."""
        self.next_at = min(self.next_at, time.monotonic() + after_s)

    def heard(self) -> None:
        """Take in a sign of life of the call that runs: output, or progress."""
        self._heard_at = time.monotonic()

    def look(self, now: float) -> Culprit | Running | None:
        """Return the call to end the worker for, a call to announce, or None."""
        self.next_at = math.inf
        if not self._calls:
            return None
        running = self._calls.running()
        fenced = self._look_at_fences(now)
        if running is None:
            # Between two calls, or the answer is on its way.
            self.soon()
            return None
        if running.key in fenced:
            text = "stopped: this node had not heard its scheduler for too long"
            return Culprit(running.key, Failure(FENCED, "", text))
        call = running.call
        began_at = running.started_ns / 1e9
        culprit, limit_at = self._limit(running, began_at, now)
        if culprit is not None:
            return culprit
        said = self._said == call.number
        say_at = math.inf if said else began_at + STARTED_AFTER_S
        if say_at <= now:
            self._said = call.number
            self.next_at = min(self.next_at, limit_at)
            return running
        self.next_at = min(self.next_at, limit_at, say_at)
        return None

    def _limit(self, running: Running, began_at: float, now: float) -> tuple[Culprit | None, float]:
        """Judge a running call by its limits; return when to judge it again."""
        call = running.call
        silent_s = call.silence_ms / 1000
        timeout_at = began_at + call.timeout_ms / 1000 if call.timeout_ms else math.inf
        silent_at = max(began_at, self._heard_at) + silent_s if silent_s else math.inf
        limit_at = min(call.kill_at, timeout_at, silent_at)
        if limit_at > now:
            return None, limit_at
        if call.kill_at <= now:
            failure = Failure("cancelled", "", "killed: it was cancelled")
        elif timeout_at <= now:
            failure = Failure("timeout", "", f"ran longer than {call.timeout_ms / 1000} s")
        else:
            text = f"printed nothing and said no progress for {silent_s} s"
            failure = Failure("silence", "", text)
        return Culprit(running.key, failure), limit_at

    def _look_at_fences(self, now: float) -> list[bytes]:
        """Return the calls whose fence ran out; those that wait are not to begin any more."""
        if not self._calls.fences:
            return []
        fenced = self._calls.fenced()
        for key in fenced:
            self._calls.cancel(key, math.inf)
        if fenced:
            self.soon(CONFIRM_S)
        looks = (fence.look_at(now) for fence in self._calls.fences.values() if not fence.is_over())
        self.next_at = min([self.next_at, *looks])
        return fenced


def started(running: Running, pid: int) -> Started:
    """Describe the start of a call, for the agent."""
    wall_ns = time.time_ns() - (time.monotonic_ns() - running.started_ns)
    return Started(*batches.split_key(running.key), pid, wall_ns)
