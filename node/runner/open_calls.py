"""Which calls a worker holds, and which of them run, wait, or are cancelled.

The worker runs calls in the order in which they are forwarded, so a number per call says all: what
is below the running number has run, what is above it has not started. Where it runs several as one
batch, their numbers are in a row, but for those that were cancelled in time.
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
BATCH_DIED = "batch_died"
"""Comes back with a call whose worker died while it ran in a batch: it is to run alone."""
BATCH_ENDED = "batch_ended"
"""The same of one that was ended, for a neighbour's sake."""


@dataclass(slots=True)
class OpenCall:
    """A call that is not answered yet.

    `kill_at` is finite once it is cancelled; `asked_back`: wanted only while it has not begun.
    `verdict` is why a call of a batch has failed whatever the batch will return for it.
    """

    number: int
    timeout_ms: int
    kill_at: float = math.inf
    asked_back: bool = False
    silence_ms: int = 0
    verdict: Failure | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """A call that the page shows as begun and that is not answered."""

    key: bytes
    call: OpenCall
    started_ns: int


class OpenCalls:
    """The unanswered calls of one worker, in order. `fences` are of those that have one.

    `in_batches`: the worker takes several at a time.
    """

    def __init__(self, page: Page, *, in_batches: bool = False) -> None:
        self._page = page
        self._in_batches = in_batches
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
        if self._in_batches and kill_at < math.inf:
            call.verdict = call.verdict or Failure("cancelled", "", "cancelled within its batch")
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
        is_whole = not self._dropped and all(key in self._open for key in keys)
        if not is_whole or any(self._open[key].verdict for key in keys):
            _, outcomes = batches.unpack_results(body)
            mine = [self._judged(one) for one in outcomes if self._is_open(one)]
            keys = [batches.join_key(one.task, one.attempt) for one in mine]
            body = batches.pack_results(0, mine)
        for key in keys:
            del self._open[key]
        return body, keys

    def running(self) -> list[Running]:
        """Return what runs; nothing before the first, and while the answer is on its way."""
        first, last, started_ns = self._page.running()
        return [
            Running(key, call, started_ns)
            for key, call in self._open.items()
            if first <= call.number <= last
        ]

    def held(self) -> list[tuple[bytes, bool]]:
        """Return the calls with whether each has begun."""
        last = self._page.running()[1]
        return [(key, call.number <= last) for key, call in self._open.items()]

    def return_cancelled(self) -> list[Outcome]:
        """Close the marked calls that have not begun and, being marked, never will."""
        last = self._page.running()[1]
        back = [
            key
            for key, call in self._open.items()
            if call.number > last and (call.asked_back or call.kill_at < math.inf)
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
        self,
        charged: Failure,
        returned: Failure,
        together: Failure,
        culprits: Mapping[bytes, Failure],
    ) -> list[Outcome]:
        """Close what a dead worker leaves: what had begun is charged, the rest comes back.

        Of a batch nobody can tell which call was at fault: all come back, with `together`, but
        for those that are known to be.
        """
        last = self._page.running()[1]
        begun = sum(call.number <= last for call in self._open.values())
        is_batch = self._in_batches and begun > 1
        outcomes = []
        for key, call in self._open.items():
            status, failure = batches.FAILED, charged
            verdict = culprits.get(key) or call.verdict
            if call.number > last:
                status, failure = batches.RETURNED, returned
            elif verdict is not None:
                failure = verdict
                if failure.code == FENCED:  # not its own fault: it may run again
                    status = batches.RETURNED
            elif is_batch:
                status, failure = batches.RETURNED, together
            body = batches.pack_failure(failure)
            outcomes.append(Outcome(*batches.split_key(key), status, body))
        self._open.clear()
        return outcomes

    def _judged(self, outcome: Outcome) -> Outcome:
        """Put a call's own verdict in place of what its batch returned for it."""
        verdict = self._open[batches.join_key(outcome.task, outcome.attempt)].verdict
        if verdict is None or outcome.status == batches.RETURNED:
            return outcome
        return outcome._replace(status=batches.FAILED, body=batches.pack_failure(verdict))

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
