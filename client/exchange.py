"""When is a request sent, sent again, answered or given up?

Every request is safe to repeat, so it is sent again, the same bytes, when its answer is late or
the connection was lost meanwhile. All of this runs on the courier's thread.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import zmq

from ..config.cluster import Connection as Dial
from ..config.keys import fingerprint
from ..protocol import codec
from ..protocol.errors import RemudaError, Unreachable, from_wire
from ..protocol.messages import Failure, Message
from .channel import Channel, News

RECEIVE_BATCH = 64
IDLE_S = 3600.0
RESEND_S_MAX = 30.0
RESEND_FACTOR = 1.5
REDIAL_S = 1.0
LOOK_S = 1.0
REDIAL_S_MAX = 15.0
REFUSALS_MAX = 5


class Reply(NamedTuple):
    """An answer, the epoch of the scheduler that gave it, and how often the request was sent."""

    message: Message
    epoch: int
    tries: int


Receiver = Callable[[Reply | RemudaError], None]


@dataclass(slots=True, eq=False)
class Request:
    """A request on its way.

    Each try may take `answer_s`; all of them `patience_s`, where 0 means as long as it takes.
    """

    correlation: bytes
    payload: bytes
    receiver: Receiver
    answer_s: float
    patience_s: float
    asked_at: float
    resend_at: float = 0.0
    tries: int = 0

    def on_sent(self, now: float) -> None:
        """Note one more try and when the next is due."""
        grown_s = min(RESEND_S_MAX, self.answer_s * RESEND_FACTOR**self.tries)
        jitter = random.uniform(0.8, 1.2)
        self.resend_at = now + max(grown_s, self.answer_s) * jitter
        self.tries += 1

    def gives_up_at(self, most_s: float) -> float:
        """Return when to stop: when its patience or what there is at most is over."""
        if not self.patience_s:
            return float("inf")
        return self.asked_at + min(self.patience_s, most_s)


class Exchange:
    """The open requests and the channel they go through. `dial` says where the scheduler is.

    While none was ever seen there, nobody waits longer than `connect_s`.
    """

    def __init__(self, dial: Callable[[], Dial], connect_s: float) -> None:
        self._dial = dial
        self._most_s = connect_s
        self.dialled = dial()
        self.channel: Channel | None = None
        self._requests: dict[bytes, Request] = {}
        self.unsent: deque[Request] = deque()
        self._joined_ever = False
        self._lost = False
        self._handshakes_failed = 0
        self._refusals = 0
        self._redial_at = 0.0
        self._connected = False
        self._look_at = 0.0

    def accept(self, request: Request) -> None:
        """Take a request on."""
        self._requests[request.correlation] = request
        self.unsent.append(request)
        if self.channel is None and request.patience_s:
            self._redial_at = 0.0  # somebody asks now: a refused key may be admitted by now

    def turn(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        """Do what is due."""
        now = time.monotonic()
        if self.channel is None:
            if self._requests and now >= self._redial_at:
                self._open(context)
        elif self._requests and not self._connected and now >= self._look_at:
            self._look_at = now + LOOK_S
            self._follow_the_address()  # it may come back elsewhere, where nothing is lost again
        self._receive()
        self._expire(time.monotonic())
        self._send()

    def next_at(self) -> float:
        """Return when something is due."""
        times = [time.monotonic() + IDLE_S]
        for request in self._requests.values():
            times.append(request.gives_up_at(self._most_s))
            if request.resend_at:
                times.append(request.resend_at)
        if self._requests and not self._connected:
            times.append(self._redial_at if self.channel is None else self._look_at)
        return min(times)

    def close(self, error: RemudaError) -> None:
        """Hang up and give `error` to everyone who waits."""
        self._hang_up()
        for request in list(self._requests.values()):
            self._finish(request, error)

    def _open(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self._follow_the_address()
        try:
            self.channel = Channel(context, self.dialled)
        except zmq.ZMQError as error:
            self._redial_at = time.monotonic() + REDIAL_S_MAX
            failure = Unreachable(f"cannot dial {self.dialled.endpoint}: {error}")
            for request in list(self._requests.values()):
                self._finish(request, failure)
            return
        self.unsent = deque(self._requests.values())

    def _hang_up(self) -> None:
        self._connected = False
        if self.channel is not None:
            self.channel.close()
            self.channel = None

    def _follow_the_address(self) -> None:
        """Dial anew where the scheduler lives somewhere else now, or with another key."""
        try:
            dialled = self._dial()
        except (RemudaError, OSError):
            return  # what we had may come back
        if dialled != self.dialled:
            self.dialled = dialled
            self._hang_up()
            self._redial_at = 0.0

    def _send(self) -> None:
        now = time.monotonic()
        while self.unsent and self.channel is not None:
            request = self.unsent[0]
            if request.correlation in self._requests:
                if not self.channel.send(request.correlation, request.payload):
                    return
                request.on_sent(now)
            self.unsent.popleft()

    def _receive(self) -> None:
        if self.channel is None:
            return
        for _ in range(RECEIVE_BATCH):
            received = self.channel.receive()
            if received is None:
                break
            request = self._requests.get(received[0])
            if request is not None:
                self._finish(request, _read(received[1], request.tries))
        for event in self.channel.news():
            self._on_news(event)

    def _on_news(self, event: News) -> None:
        if event is News.JOINED:
            self._joined_ever = self._connected = True
            self._most_s = float("inf")
            self._handshakes_failed = self._refusals = 0
            if self._lost:  # with a connection: what it swallowed is sent again, without waiting
                self._lost = False
                self.unsent = deque(self._requests.values())
        elif event is News.FAILED:
            self._handshakes_failed += 1
        elif event is News.LOST:
            self._lost, self._connected = True, False
            self._follow_the_address()
        elif event is News.REFUSED:
            self._on_refused()

    def _on_refused(self) -> None:
        """Tell all who wait; libzmq never tries again with this socket, so it goes."""
        self._hang_up()
        self._refusals += 1
        self._redial_at = time.monotonic() + min(REDIAL_S_MAX, REDIAL_S * 2.0**self._refusals)
        error = Unreachable(
            f"the scheduler at {self.dialled.endpoint} does not admit our key "
            f"{self.dialled.name!r} ({fingerprint(self.dialled.key.public)}): "
            "ask an admin there for a line to log in with (`remuda key invite`)"
        )
        for request in list(self._requests.values()):
            if request.patience_s or self._refusals >= REFUSALS_MAX:
                self._finish(request, error)

    def _expire(self, now: float) -> None:
        for request in list(self._requests.values()):
            if now >= request.gives_up_at(self._most_s):
                self._finish(request, Unreachable(self._why_unanswered(request, now)))
            elif request.resend_at and now >= request.resend_at:
                request.resend_at = 0.0
                self._follow_the_address()
                self.unsent.append(request)

    def _why_unanswered(self, request: Request, now: float) -> str:
        endpoint, waited_s = self.dialled.endpoint, now - request.asked_at
        if self._handshakes_failed:
            return (
                f"{endpoint} is reached, but no handshake came about within {waited_s:.0f} s: it "
                "is too busy, has another key than the one we know, or is not remuda: try again, "
                "then check the endpoint and the key file"
            )
        if not self._joined_ever:
            return (
                f"no scheduler answers at {endpoint} (waited {waited_s:.0f} s): "
                "look there with `remuda doctor`, or check --home, --cluster or --endpoint here"
            )
        return (
            f"the scheduler at {endpoint} gave no answer within {waited_s:.0f} s "
            f"({request.tries} tries): what was asked may or may not have happened"
        )

    def _finish(self, request: Request, outcome: Reply | RemudaError) -> None:
        if self._requests.pop(request.correlation, None) is not None:
            request.receiver(outcome)


def _read(payload: bytes, tries: int) -> Reply | RemudaError:
    """Decode a reply; a typed refusal becomes its error."""
    try:
        epoch, message, _ = codec.decode(payload)
    except RemudaError as error:
        return error
    if isinstance(message, Failure):
        retry_after_s = message.retry_after_ms / 1000
        return from_wire(
            message.code, message.message, field=message.field, retry_after_s=retry_after_s
        )
    return Reply(message, epoch, tries)
