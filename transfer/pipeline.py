"""How do many transfers share one connection, and go on after it was lost?"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from ..protocol.errors import RemudaError, Unreachable, from_wire
from ..protocol.message import Message
from ..protocol.store_messages import StoreFailure
from .link import Heard, Link, Lost

ACTIVE_MAX = 64
SILENCE_S = 90.0
"""Without a word for so long, although connected: ask anew, something was lost."""
RETRY_S_MAX = 5.0
"""A refusal that asks for a longer pause is an error."""
POLL_MS = 1_000


class Step(Enum):
    """What a message meant for a transfer."""

    GOING = "more is to come"
    OWING = "more is to come, and something is to be said before one waits for it"
    DONE = "it is complete"
    ANEW = "it has to begin again"


class Transfer(Protocol):
    """One request and all that follows from it."""

    def begin(self, link: Link, request: int) -> Step:
        """Ask, for the first time or again after the connection was lost."""

    def on_message(self, link: Link, request: int, heard: Heard) -> Step:
        """Go on; raises what cannot be mended."""

    def settle(self, link: Link, request: int) -> None:
        """Say what is owed."""

    def on_refusal(self, error: RemudaError) -> Step:
        """Decide about a refusal that a pause does not mend; raises it, or begins again."""


@dataclass(slots=True)
class _Pause:
    transfer: Transfer
    ends_s: float


class Pipeline:
    """Runs transfers on a link, many at a time, until all are complete."""

    def __init__(self, link: Link, patience_s: float) -> None:
        self._link = link
        self._patience_s = patience_s
        self._requests = 0
        self._active: dict[int, Transfer] = {}
        self._owing: dict[int, Transfer] = {}
        self._pauses: list[_Pause] = []
        self._heard_s = 0.0
        self.answered_s = 0.0

    def run(self, transfers: Iterable[Transfer]) -> None:
        """Return when all are done; raises the first error, and hangs up then."""
        rest = iter(transfers)
        self._heard_s = time.monotonic()
        try:
            while self._turn(rest):
                pass
        except BaseException:
            self._link.close()
            raise
        finally:
            self._active.clear()
            self._owing.clear()
            self._pauses.clear()

    def _turn(self, rest: Iterator[Transfer]) -> bool:
        """Do one thing; tell whether there is more to do."""
        try:
            if not self._link.is_open:
                self._dial()
            while len(self._active) < ACTIVE_MAX and (more := self._next(rest)) is not None:
                self._begin(more)
            if not self._active and not self._pauses:
                return False
            self._hear()
        except Lost:
            self._link.close()
        return True

    def _next(self, rest: Iterator[Transfer]) -> Transfer | None:
        now_s = time.monotonic()
        for pause in self._pauses:
            if pause.ends_s <= now_s:
                self._pauses.remove(pause)
                return pause.transfer
        return next(rest, None)

    def _dial(self) -> None:
        """Connect, and begin again all that was under way."""
        self._link.open(time.monotonic() + self._patience_s)
        self._heard_s = time.monotonic()
        lost, self._active = list(self._active.values()), {}
        self._owing.clear()
        for position, transfer in enumerate(lost):
            try:
                self._begin(transfer)
            except Lost:
                for later in lost[position + 1 :]:
                    self._active[self._number()] = later
                raise

    def _begin(self, transfer: Transfer) -> None:
        request = self._number()
        self._active[request] = transfer
        self._follow(request, transfer, transfer.begin(self._link, request))

    def _follow(self, request: int, transfer: Transfer, step: Step) -> None:
        if step is Step.OWING:
            self._owing[request] = transfer
        elif step is not Step.GOING:
            del self._active[request]
            self._owing.pop(request, None)
        if step is Step.ANEW:
            self._begin(transfer)

    def _hear(self) -> None:
        heard = self._link.receive(0)
        if heard is None:
            for request, owing in self._owing.items():
                owing.settle(self._link, request)
            self._owing.clear()
            heard = self._link.receive(self._wait_ms())
        if heard is None:
            if self._active and time.monotonic() - self._heard_s > SILENCE_S:
                raise Lost
            return
        self._heard_s = self.answered_s = time.monotonic()
        request = getattr(heard.message, "request", -1)
        transfer = self._active.get(request)
        if transfer is None:
            return  # of a transfer that has begun again
        if isinstance(heard.message, StoreFailure):
            self._on_failure(request, transfer, heard.message)
        else:
            self._follow(request, transfer, transfer.on_message(self._link, request, heard))

    def _on_failure(self, request: int, transfer: Transfer, failure: StoreFailure) -> None:
        retry_s = failure.retry_after_ms / 1000
        if 0 < retry_s <= RETRY_S_MAX:
            del self._active[request]
            self._owing.pop(request, None)
            self._pauses.append(_Pause(transfer, time.monotonic() + retry_s))
            return
        error = from_wire(failure.code, failure.message, retry_after_s=retry_s)
        self._follow(request, transfer, transfer.on_refusal(error))

    def _wait_ms(self) -> int:
        if not self._pauses:
            return POLL_MS
        first_s = min(pause.ends_s for pause in self._pauses)
        return max(1, min(POLL_MS, int(1000 * (first_s - time.monotonic())) + 1))

    def _number(self) -> int:
        self._requests += 1
        return self._requests


def unexpected(message: Message) -> RemudaError:
    """Build the error for an answer that fits no question."""
    return Unreachable(f"the store answered {type(message).__name__}: are both of one version?")
