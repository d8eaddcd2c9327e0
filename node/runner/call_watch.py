"""When to look at a worker's running call, and what is to be said or done about it then."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from ...worker import batches
from ...worker.frames import Failure, Formed, Started
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
    """Compares the shared page with what is open; `next_at` is when to look again.

    A call of a batch that is over its limits has failed, but its neighbours have not: the worker
    is ended for it only if the batch does not end within `grace_s`.
    """

    def __init__(self, calls: OpenCalls, grace_s: float) -> None:
        self.next_at = math.inf
        self._calls = calls
        self._grace_s = grace_s
        self._said = 0
        self._heard_at = 0.0

    def soon(self, after_s: float = STARTED_AFTER_S) -> None:
        """Look again within `after_s`: something changed."""
        self.next_at = min(self.next_at, time.monotonic() + after_s)

    def heard(self) -> None:
        """Take in a sign of life of what runs: output, or progress."""
        self._heard_at = time.monotonic()

    def look(self, now: float) -> Culprit | list[Running]:
        """Return the call to end the worker for, or those to announce."""
        self.next_at = math.inf
        if not self._calls:
            return []
        running = self._calls.running()
        fenced = self._look_at_fences(now)
        if not running:
            # Between two calls, or the answer is on its way.
            self.soon()
            return []
        for each in running:
            if each.key in fenced:
                text = "stopped: this node had not heard its scheduler for too long"
                return Culprit(each.key, Failure(FENCED, "", text))
        for each in running:
            culprit = self._judge(each, running, now)
            if culprit is not None:
                return culprit
        return self._to_announce(running, now)

    def _to_announce(self, running: list[Running], now: float) -> list[Running]:
        say_at = running[0].started_ns / 1e9 + STARTED_AFTER_S
        fresh = [each for each in running if each.call.number > self._said]
        if fresh and say_at > now:
            self.next_at = min(self.next_at, say_at)
            return []
        self._said = max(self._said, running[-1].call.number)
        return fresh

    def _judge(self, running: Running, batch: list[Running], now: float) -> Culprit | None:
        """Judge one call by its limits, and say when to judge it again."""
        call = running.call
        failure, limit_at = self._limit(running, now)
        if failure is None:
            self.next_at = min(self.next_at, limit_at)
            return None
        if call.kill_at > now and len(batch) > 1:
            call.verdict = failure
            if any(each.call.verdict is None for each in batch):
                self._calls.cancel(running.key, now + self._grace_s)
                self.next_at = min(self.next_at, call.kill_at)
                return None
        return Culprit(running.key, failure)

    def _limit(self, running: Running, now: float) -> tuple[Failure | None, float]:
        """Say what is wrong with a call, or until when nothing is."""
        call = running.call
        if call.kill_at <= now:
            known = call.verdict
            if known is None or known.code == "cancelled":
                known = Failure("cancelled", "", "killed: it was cancelled")
            return known, call.kill_at
        if call.verdict is not None:
            return None, call.kill_at
        began_at = running.started_ns / 1e9
        silent_s = call.silence_ms / 1000
        timeout_at = began_at + call.timeout_ms / 1000 if call.timeout_ms else math.inf
        silent_at = max(began_at, self._heard_at) + silent_s if silent_s else math.inf
        if timeout_at <= now:
            failure = Failure("timeout", "", f"ran longer than {call.timeout_ms / 1000} s")
        elif silent_at <= now:
            text = f"printed nothing and said no progress for {silent_s} s"
            failure = Failure("silence", "", text)
        else:
            return None, min(call.kill_at, timeout_at, silent_at)
        return failure, now

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


def formed(running: list[Running]) -> Formed:
    """Tell which calls run as one batch, to an agent that comes back."""
    keys = [batches.split_key(each.key) for each in running]
    return Formed([[task.hex(), attempt] for task, attempt in keys])
