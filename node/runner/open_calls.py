"""Which calls a worker holds, and which of them run, wait, or are cancelled.

The worker runs calls in the order in which they are forwarded, so a number per call says all: what
is below the running number has run, what is above it has not started.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ...worker import batches
from ...worker.batches import Failure, Outcome
from ...worker.page import Page
from .fence import Fence, boot_ns


class CallLimit(NamedTuple):
    """What holds for one call besides its timeout; 0 for none."""

    silence_ms: int = 0
    fence_boot_ns: int = 0


FENCED = "fenced"


@dataclass(slots=True)
class OpenCall:
    """A call that is not answered yet.

    `kill_at` is finite once it is cancelled; `asked_back`: wanted only while it has not begun.
    """

    number: int
    timeout_ms: int
    kill_at: float = math.inf
    asked_back: bool = False
    silence_ms: int = 0


@dataclass(frozen=True, slots=True)
class Running:
    """The call that the page shows as begun and that is not answered."""

    key: bytes
    call: OpenCall
    started_ns: int


class OpenCalls:
    """The unanswered calls of one worker, in order. `fences` are of those that have one."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._open: dict[bytes, OpenCall] = {}
        self._dropped: dict[bytes, int] = {}
        self._number = 0
        self.fences: dict[bytes, Fence] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, key: object) -> bool:
        return key in self._open

    def take(self, heads: Sequence[tuple[bytes, int]], limits: Mapping[bytes, CallLimit]) -> None:
        """Number a batch that is about to be forwarded."""
        number = self._number
        for key, timeout_ms in heads:
            number += 1
            self._open[key] = OpenCall(number, timeout_ms)
            self._page.mark(number, cancelled=False)
        self._number = number
        for key, limit in limits.items():
            call = self._open.get(key)
            if call is not None:
                call.silence_ms = limit.silence_ms
                if limit.fence_boot_ns:
                    self.fences[key] = Fence(limit.fence_boot_ns)

    def cancel(self, key: bytes, kill_at: float) -> bool:
        """Mark a call, to be killed at a monotonic time if it runs; say whether it is open.

        With a `kill_at` of infinity it is only asked back: marked until it is seen to have begun.
        """
        call = self._open.get(key)
        if call is None:
            return False
        self._page.mark(call.number, cancelled=True)
        call.kill_at = min(call.kill_at, kill_at)
        call.asked_back = kill_at == math.inf
        return True

    def renew(self, fence_boot_ns: int) -> None:
        """Put the fences off."""
        for fence in self.fences.values():
            fence.renew(fence_boot_ns)

    def fenced(self) -> list[bytes]:
        """Return the calls whose fence ran out; forget those of calls that are answered."""
        now = boot_ns()
        self.fences = {key: fence for key, fence in self.fences.items() if key in self._open}
        return [key for key, fence in self.fences.items() if fence.until_boot_ns <= now]

    def settle(self, body: bytes) -> tuple[bytes, list[bytes]]:
        """Close the calls that a RESULTS body answers; return it without what was answered."""
        keys = batches.results_keys(body)
        if self._dropped or not all(key in self._open for key in keys):
            _, outcomes = batches.unpack_results(body)
            mine = [one for one in outcomes if self._is_open(one)]
            keys = [batches.join_key(one.task, one.attempt) for one in mine]
            body = batches.pack_results(0, mine)
        for key in keys:
            del self._open[key]
        return body, keys

    def running(self) -> Running | None:
        """Return the call that runs; None before the first, and while its answer is on its way."""
        number, started_ns = self._page.running()
        for key, call in self._open.items():
            if call.number == number:
                return Running(key, call, started_ns)
        return None

    def held(self) -> list[tuple[bytes, bool]]:
        """Return the calls with whether each has begun."""
        number = self._page.running()[0]
        return [(key, call.number <= number) for key, call in self._open.items()]

    def return_cancelled(self) -> list[Outcome]:
        """Close the marked calls that have not begun and, being marked, never will."""
        running = self._page.running()[0]
        back = [
            key
            for key, call in self._open.items()
            if call.number > running and (call.asked_back or call.kill_at < math.inf)
        ]
        body = batches.pack_failure(Failure("cancelled", "", "cancelled before it started"))
        for key in back:
            del self._open[key]
            self._dropped[key] = self._dropped.get(key, 0) + 1
        for call in self._open.values():
            if call.asked_back:  # it began first
                call.asked_back = False
                self._page.mark(call.number, cancelled=call.kill_at < math.inf)
        return [Outcome(*batches.split_key(key), batches.RETURNED, body) for key in back]

    def close_all(
        self, charged: Failure, returned: Failure, culprit: tuple[bytes, Failure] | None
    ) -> list[Outcome]:
        """Close what a dead worker leaves: what had begun is charged, the rest comes back."""
        running = self._page.running()[0]
        outcomes = []
        for key, call in self._open.items():
            status, failure = batches.FAILED, charged
            if call.number > running:
                status, failure = batches.RETURNED, returned
            elif culprit is not None and culprit[0] == key:
                failure = culprit[1]
                if failure.code == FENCED:  # not its own fault: it may run again
                    status = batches.RETURNED
            body = batches.pack_failure(failure)
            outcomes.append(Outcome(*batches.split_key(key), status, body))
        self._open.clear()
        return outcomes

    def _is_open(self, outcome: Outcome) -> bool:
        key = batches.join_key(outcome.task, outcome.attempt)
        dropped = self._dropped.get(key, 0)
        if dropped and outcome.status == batches.RETURNED:
            # The worker says what was answered before; the call may have been ordered again since.
            if dropped == 1:
                del self._dropped[key]
            else:
                self._dropped[key] = dropped - 1
            return False
        return key in self._open
