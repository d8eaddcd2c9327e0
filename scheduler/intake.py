"""What becomes of a control message: an event for the core, an answer at once, or one later."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

from ..protocol import messages as m
from ..protocol.codec import decode, encode
from ..protocol.errors import (
    MalformedFrame,
    NotAllowed,
    QueueFull,
    RemudaError,
    UnknownMessage,
)
from .access import Principal, check_control
from .edge import Edge, Later
from .events import Event, Now
from .queries import answer
from .verbs import Verbs
from .view import View
from .wire import Request, Wire

ANSWERS_WAITING_MAX = 16_384
DEFERRED_MAX = 4_096


class Intake:
    """Serves the control channel; `take` returns what the core must hear."""

    def __init__(
        self,
        view: View,
        edge: Edge,
        verbs: Verbs,
        wire: Wire,
        on_trouble: Callable[[str, str], None],
    ) -> None:
        self._view = view
        self._edge = edge
        self._verbs = verbs
        self._wire = wire
        self._on_trouble = on_trouble
        self._epoch = view.core.epoch
        self._waiting: OrderedDict[int, list[bytes]] = OrderedDict()
        self._deferred: deque[Request] = deque()
        self._last_handle = 0
        self._refused: list[int] = []

    @property
    def has_deferred(self) -> bool:
        """Tell whether frames wait for the next turn."""
        return bool(self._deferred)

    def take(self, requests: list[Request], now: Now) -> list[Event]:
        """Serve what waited since the last turn, then the new requests."""
        if self._deferred:
            requests = [*self._deferred, *requests]
            self._deferred.clear()
        events: list[Event] = []
        for request in requests:
            try:
                event = self._one(request, now)
            except RemudaError as error:
                self._fail(request, error)
                continue
            events += event
        return events

    def reply(self, handle: int, message: m.Message) -> None:
        """Answer a request that was taken in before."""
        envelope = self._waiting.pop(handle, None)
        if isinstance(message, m.Failure):
            self._refused.append(handle)
        if envelope is not None:
            self._send(envelope, message)

    def end_turn(self) -> None:
        """Let the edge forget what the commit has settled."""
        self._edge.end_turn(self._refused)
        self._refused.clear()

    def _one(self, request: Request, now: Now) -> Sequence[Event]:
        principal = request.principal
        if principal is None:
            raise NotAllowed("this key was revoked: ask an admin for a new one")
        try:
            message = decode(request.payload).message
        except (MalformedFrame, UnknownMessage) as error:
            self._on_trouble("malformed", f"{principal.name}: {error}")
            raise
        check_control(type(message), principal)
        if not self._verbs.serves(type(message)):
            self._send(request.envelope, self._answered(message, principal, now))
            return ()
        handle = self._remember(request.envelope)
        try:
            outcome = self._verbs.serve(message, principal, handle, now)
        except RemudaError:
            self._waiting.pop(handle, None)
            raise
        if outcome is Later.NEXT_TURN:
            self._waiting.pop(handle, None)
            self._defer(request)
            return ()
        for known, reply in outcome.answers:
            self.reply(known, reply)
        return outcome.events

    def _answered(self, message: m.Message, principal: Principal, now: Now) -> m.Message:
        found = answer(self._view, message, principal, now)
        assert found is not None, f"{type(message).__name__} is allowed but nobody serves it"
        return found

    def _defer(self, request: Request) -> None:
        if len(self._deferred) >= DEFERRED_MAX:
            raise QueueFull("too many repeated frames at once: try again", retry_after_s=1.0)
        self._deferred.append(request)

    def _remember(self, envelope: list[bytes]) -> int:
        self._last_handle += 1
        self._waiting[self._last_handle] = envelope
        if len(self._waiting) > ANSWERS_WAITING_MAX:
            self._waiting.popitem(last=False)  # its asker has long asked again
        return self._last_handle

    def _fail(self, request: Request, error: RemudaError) -> None:
        failure = m.Failure(
            error.code, error.message, error.field, round(error.retry_after_s * 1000)
        )
        self._send(request.envelope, failure)

    def _send(self, envelope: list[bytes], message: m.Message) -> None:
        try:
            frame = encode(message, self._epoch)
        except ValueError:
            too_large = m.Failure("too_large", "the answer exceeds one frame: ask for less")
            frame = encode(too_large, self._epoch)
        self._wire.reply(envelope, frame)
