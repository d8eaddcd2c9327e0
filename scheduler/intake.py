"""What becomes of a control message: an event for the core, an answer at once, or one later."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from ..protocol import messages as m
from ..protocol.codec import VERSION, VERSION_OLDEST, decode, encode
from ..protocol.errors import (
    Conflict,
    MalformedFrame,
    NotAllowed,
    RemudaError,
    UnknownMessage,
)
from .access import Principal, check_control
from .edge import Edge, Later
from .events import Event, Now
from .fair_queue import FairQueue
from .highest_epoch import EPOCH_MAX, HighestEpoch
from .queries import answer
from .questions import Told
from .refusals import Refusals
from .rights import words_of
from .verbs import Verbs
from .view import View
from .watch import Answer
from .wire import Request, Wire

ANSWERS_WAITING_MAX = 16_384
SERVE_NS_MAX = 25_000_000


class Asker(NamedTuple):
    """Where an answer goes, and the version of the protocol that is read there."""

    envelope: list[bytes]
    version: int


class Intake:
    """Serves the control channel; `take` returns what the core must hear."""

    def __init__(
        self,
        view: View,
        edge: Edge,
        verbs: Verbs,
        wire: Wire,
        on_trouble: Callable[[str, str], None],
        highest: HighestEpoch,
    ) -> None:
        self._view = view
        self._edge = edge
        self._verbs = verbs
        self._wire = wire
        self._on_trouble = on_trouble
        self._highest = highest
        self._epoch = view.core.epoch
        self._waiting: OrderedDict[int, Asker] = OrderedDict()
        self._queue = FairQueue()
        self._later: list[Request] = []
        self._last_handle = 0
        self._refused: list[int] = []
        self._refusals = Refusals()
        self._refused_events: list[Event] = []

    @property
    def has_waiting(self) -> bool:
        """Tell whether requests wait for the next turn."""
        return bool(self._queue) or bool(self._later)

    @property
    def is_full(self) -> bool:
        """Tell whether no more requests should be taken from the socket."""
        return self._queue.is_full

    def take(self, requests: list[Request], now: Now) -> list[Event]:
        """Serve requests, one of each key in turn, until none waits or the time is up."""
        self._queue.put_back(self._later)
        self._later.clear()
        self._queue.add(requests)
        events: list[Event] = []
        ends_ns = time.monotonic_ns() + SERVE_NS_MAX
        while self._queue:
            request = self._queue.pop()
            try:
                event = self._one(request, now)
            except RemudaError as error:
                self._fail(request, error)
            else:
                events += event
            if time.monotonic_ns() > ends_ns:
                break
        events += self._refused_events
        self._refused_events.clear()
        return events

    def reply(self, handle: int, message: m.Message) -> None:
        """Answer a request that was taken in before."""
        asker = self._waiting.pop(handle, None)
        if isinstance(message, m.Failure):
            self._refused.append(handle)
        if asker is not None:
            self._send(asker, message)

    def reply_all(self, answers: Iterable[Answer | Told]) -> None:
        """Answer requests whose wait is over."""
        for each in answers:
            self.reply(each.handle, each.message)

    def end_turn(self) -> None:
        """Let the edge forget what the commit has settled."""
        self._edge.end_turn(self._refused)
        self._refused.clear()

    def _one(self, request: Request, now: Now) -> Sequence[Event]:
        principal = request.principal
        if principal is None:
            raise NotAllowed("this key was revoked: ask an admin for a new one")
        try:
            epoch, message, version = decode(request.payload)
        except (MalformedFrame, UnknownMessage) as error:
            self._on_trouble("malformed", f"{principal.name}: {error}")
            raise
        try:
            check_control(type(message), principal)
        except NotAllowed:
            what = words_of(type(message))
            self._refused_events += self._refusals.note(principal, what, now.mono_ns)
            raise
        if isinstance(message, m.Register):
            self._check_epoch(principal, epoch)
        asker = Asker(request.envelope, _answer_version(message, version))
        if not self._verbs.serves(type(message)):
            self._send(asker, self._answered(message, principal, now))
            return ()
        handle = self._remember(asker)
        try:
            outcome = self._verbs.serve(message, principal, handle, now)
        except RemudaError:
            self._waiting.pop(handle, None)
            raise
        if outcome is Later.NEXT_TURN:
            self._waiting.pop(handle, None)
            self._later.append(request)
            return ()
        for known, reply in outcome.answers:
            self.reply(known, reply)
        return outcome.events

    def _check_epoch(self, principal: Principal, epoch: int) -> None:
        """Raise Conflict where a node saw a later scheduler: then this journal is an old one.

        One that is held after a restore by a clock that was behind can go on above that.
        """
        if epoch <= self._epoch:
            return
        cure = (
            "stop the scheduler and bring the journal back with `remuda restore`, or give work to "
            "nobody"
        )
        if self._view.core.recovery is not None and epoch <= EPOCH_MAX:
            self._highest.see(epoch)
            cure = "restart this scheduler: it goes on above that"
        text = (
            f"the journal is older than what its nodes saw: {principal.name} knows epoch {epoch}, "
            f"this is {self._epoch}; {cure}"
        )
        self._view.problems["epoch"] = text
        raise Conflict(text)

    def _answered(self, message: m.Message, principal: Principal, now: Now) -> m.Message:
        found = answer(self._view, message, principal, now)
        assert found is not None, f"{type(message).__name__} is allowed but nobody serves it"
        return found

    def _remember(self, asker: Asker) -> int:
        self._last_handle += 1
        self._waiting[self._last_handle] = asker
        if len(self._waiting) > ANSWERS_WAITING_MAX:
            self._waiting.popitem(last=False)  # its asker has long asked again
        return self._last_handle

    def _fail(self, request: Request, error: RemudaError) -> None:
        failure = m.Failure(
            error.code, error.message, error.field, round(error.retry_after_s * 1000)
        )
        # Whatever was wrong with it: who speaks any version reads the oldest.
        self._send(Asker(request.envelope, VERSION_OLDEST), failure)

    def _send(self, asker: Asker, message: m.Message) -> None:
        try:
            frame = encode(message, self._epoch, asker.version)
        except ValueError:
            too_large = m.Failure("too_large", "the answer exceeds one frame: ask for less")
            frame = encode(too_large, self._epoch, asker.version)
        self._wire.reply(asker.envelope, frame)


def _answer_version(message: m.Message, version: int) -> int:
    """Return the version of the answer: that of the question, or the newest a node speaks."""
    if not isinstance(message, m.Register):
        return version
    return max(VERSION_OLDEST, min(message.protocol_max, VERSION))
