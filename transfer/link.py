"""How is one socket to the store made, and what becomes of its connection?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

import zmq
from zmq.utils.monitor import parse_monitor_message

from ..config.keys import KeyPair
from ..protocol.codec import FRAME_BYTES_MAX, decode, encode
from ..protocol.errors import Unreachable
from ..protocol.message import Message

QUEUED_MAX = 1_024
RECONNECT_MS = 100
RECONNECT_MS_MAX = 1_000
PING_MS = 2_000
PING_TIMEOUT_MS = 10_000
HANDSHAKE_MS = 10_000
REFUSED_S = 2.0
REFUSED_PAUSE_S = 0.25
_WATCHED = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_DISCONNECTED
)
Socket = zmq.Socket[bytes]


class Lost(Exception):  # noqa: N818 - not an error yet: one dials again
    """The connection is gone, and with it all that was asked on it."""


class Heard(NamedTuple):
    """A message of the store, with the bytes that came along."""

    message: Message
    data: memoryview | None


class _News(Enum):
    JOINED = 1
    LOST = 2
    REFUSED = 3


class Link:
    """A DEALER that is dialled when it is needed and dialled anew when it is lost.

    `why` says why there is no connection, as far as the library tells.
    """

    def __init__(self, address: str, key: KeyPair, server_public: str) -> None:
        self.address = address
        self._key = key
        self._server_public = server_public
        self._context: zmq.Context[Socket] | None = None
        self._socket: Socket | None = None
        self._monitor: Socket | None = None
        self.why = ""

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    def open(self, ends_s: float) -> None:
        """Dial and wait for the handshake; raises Unreachable when the clock says `ends_s`."""
        self.close()
        self._dial()
        assert self._monitor is not None
        refused_s = 0.0
        while True:
            left_ms = int(1000 * (ends_s - time.monotonic()))
            if left_ms <= 0:
                self.close()
                raise Unreachable(
                    f"the store at {self.address} cannot be reached{self.why}: does it run?"
                )
            if not self._monitor.poll(min(left_ms, PING_MS)):
                continue
            news = self._news()
            if _News.REFUSED in news:
                refused_s = refused_s or time.monotonic()
                if time.monotonic() - refused_s < REFUSED_S:
                    self.close()  # a new key may be on its way to the store
                    time.sleep(REFUSED_PAUSE_S)
                    self._dial()
                    continue
                self.close()
                raise Unreachable(
                    f"the store at {self.address} does not admit this key: it was withdrawn, or "
                    "the scheduler has not told the store of it yet"
                )
            if _News.JOINED in news:
                self.why = ""
                return

    def send(self, message: Message, data: bytes | memoryview | None = None) -> None:
        """Send a message, in the protocol that brought it: a store may be a release behind.

        Raises Lost.
        """
        parts: Sequence[bytes | memoryview] = [encode(message, 0, message.SINCE)]
        if data is not None:
            parts = [*parts, data]
        while True:
            if self._socket is None:
                raise Lost
            try:
                self._socket.send_multipart(parts, zmq.NOBLOCK)
            except zmq.Again:
                self._wait(zmq.POLLOUT, PING_TIMEOUT_MS)
            else:
                return

    def receive(self, timeout_ms: int) -> Heard | None:
        """Return the next message, None when none came in time; raises Lost."""
        if self._socket is None:
            raise Lost
        try:
            parts = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            if not self._wait(zmq.POLLIN, timeout_ms):
                return None
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return None
        data = parts[1].buffer if len(parts) > 1 else None
        return Heard(decode(parts[0].bytes).message, data)

    def close(self) -> None:
        """Hang up; safe to call twice."""
        if self._socket is not None:
            self._socket.disable_monitor()
            if self._monitor is not None:
                self._monitor.close(linger=0)
            self._socket.close(linger=0)
        self._socket = self._monitor = None
        if self._context is not None:
            self._context.term()
            self._context = None

    def _dial(self) -> None:
        self._context = zmq.Context(1)
        self._socket = socket = self._context.socket(zmq.DEALER)
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.SNDHWM, QUEUED_MAX),
            (zmq.RCVHWM, QUEUED_MAX),
            (zmq.MAXMSGSIZE, FRAME_BYTES_MAX),
            (zmq.IMMEDIATE, 1),
            (zmq.IPV6, 1),
            (zmq.RECONNECT_IVL, RECONNECT_MS),
            (zmq.RECONNECT_IVL_MAX, RECONNECT_MS_MAX),
            (zmq.HEARTBEAT_IVL, PING_MS),
            (zmq.HEARTBEAT_TIMEOUT, PING_TIMEOUT_MS),
            (zmq.HANDSHAKE_IVL, HANDSHAKE_MS),
        ):
            socket.setsockopt(option, value)
        socket.curve_serverkey = self._server_public.encode()
        socket.curve_publickey = self._key.public.encode()
        socket.curve_secretkey = self._key.secret.encode()
        self._monitor = socket.get_monitor_socket(_WATCHED)
        socket.connect(self.address)

    def _wait(self, event: int, timeout_ms: int) -> bool:
        """Wait until the socket is ready; raises Lost when its connection ended."""
        assert self._socket is not None
        assert self._monitor is not None
        poller = zmq.Poller()
        poller.register(self._socket, event)
        poller.register(self._monitor, zmq.POLLIN)
        ready = dict(poller.poll(timeout_ms))
        if self._monitor in ready and _News.LOST in self._news():
            raise Lost
        return self._socket in ready

    def _news(self) -> list[_News]:
        """Return what happened to the connection since the last call."""
        assert self._monitor is not None
        found: list[_News] = []
        while True:
            try:
                event = parse_monitor_message(self._monitor.recv_multipart(zmq.NOBLOCK))["event"]
            except zmq.Again:
                return found
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                found.append(_News.JOINED)
            elif event == zmq.EVENT_DISCONNECTED:
                found.append(_News.LOST)
            elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                found.append(_News.REFUSED)
            else:
                self.why = ": the handshake failed, it is not our store, or not its key"
