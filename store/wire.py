"""What goes in and out of the store's socket, and who said it."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import zmq

from ..config.handshakes import Gate, Verdict
from ..config.keys import KeyPair
from ..protocol.codec import FRAME_BYTES_MAX, encode
from ..protocol.errors import Conflict
from ..protocol.message import Message
from .keys import LiveKeys

DOMAIN = "store"
IO_THREADS = 1
SOCKETS_MAX = 64
QUEUED_IN_MAX = 16
"""Messages of one connection that wait inside the library; chunks among them were asked for."""
QUEUED_OUT_MAX = 1_024
BACKLOG = 1_024
HANDSHAKE_MS = 5_000
ZMTP_HEARTBEAT_MS = 5_000
ZMTP_SILENCE_MS = 20_000
OVERSIZE_MARGIN_BYTES = 64 * 1024
MESSAGES_PER_TURN = 256

Socket = zmq.Socket[bytes]


class Peer(NamedTuple):
    """A connection: where answers go, and the key that it was opened with."""

    route: bytes
    key: str


class Said(NamedTuple):
    """A message as it came; `data` are bytes of an object, None where there was no second part."""

    peer: Peer
    frame: bytes
    data: memoryview | None


class Gone(Exception):  # noqa: N818 - not an error
    """Whoever was to be answered has hung up, or does not read."""


class Wire:
    """One ROUTER behind CURVE; `on_trouble(what, about)` hears of strangers."""

    def __init__(
        self, host: str, pair: KeyPair, keys: LiveKeys, on_trouble: Callable[[str, str], None]
    ) -> None:
        self._keys = keys
        self._on_trouble = on_trouble
        self.counts: Counter[str] = Counter()
        self.context: zmq.Context[Socket] = zmq.Context(IO_THREADS)
        self._poller = zmq.Poller()
        self._gate = Gate(self.context, self._may_connect, self._tell_refused, self.counts)
        self._poller.register(self._gate.socket, zmq.POLLIN)
        self._host = host
        self.router = self._open(pair)
        self.is_read = False

    def _open(self, pair: KeyPair) -> Socket:
        socket: Socket = self.context.socket(zmq.ROUTER)
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.CURVE_SERVER, 1),
            (zmq.CURVE_SECRETKEY, pair.secret.encode()),
            (zmq.ZAP_DOMAIN, DOMAIN.encode()),
            (zmq.ZAP_ENFORCE_DOMAIN, 1),
            (zmq.HANDSHAKE_IVL, HANDSHAKE_MS),
            (zmq.MAXMSGSIZE, FRAME_BYTES_MAX + OVERSIZE_MARGIN_BYTES),
            (zmq.SNDHWM, QUEUED_OUT_MAX),
            (zmq.RCVHWM, QUEUED_IN_MAX),
            (zmq.BACKLOG, BACKLOG),
            (zmq.HEARTBEAT_IVL, ZMTP_HEARTBEAT_MS),
            (zmq.HEARTBEAT_TIMEOUT, ZMTP_SILENCE_MS),
            (zmq.IPV6, int(":" in self._host)),
            (zmq.ROUTER_MANDATORY, 1),
        ):
            socket.setsockopt(option, value)
        return socket

    def listen(self, port: int) -> int:
        """Bind (0: any free port) and return the port; raises Conflict."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        try:
            self.router.bind(f"tcp://{host}:{port or '*'}")
        except zmq.ZMQError as error:
            why = "is taken: stop who has it, or set [scheduler] port"
            if error.errno != errno.EADDRINUSE:
                why = f"cannot be bound: {error}"
            raise Conflict(f"port {port} on {self._host} {why}") from error
        endpoint: Any = self.router.getsockopt(zmq.LAST_ENDPOINT)
        self.read(on=True)
        return int(endpoint.rstrip(b"\0").rpartition(b":")[2])

    def read(self, *, on: bool) -> None:
        """Hear messages, or leave them where they are for now."""
        if on and not self.is_read:
            self._poller.register(self.router, zmq.POLLIN)
        elif self.is_read and not on:
            self._poller.unregister(self.router)
        self.is_read = on

    def watch(self, readable: object) -> None:
        """Let `poll` also return when something else becomes readable."""
        self._poller.register(readable, zmq.POLLIN)

    def forget(self, readable: object) -> None:
        self._poller.unregister(readable)

    def poll(self, timeout_ms: int) -> dict[Any, int]:
        """Wait for something to do; answer handshakes; return what is ready."""
        ready = dict(self._poller.poll(timeout_ms))
        if self._gate.socket in ready:
            self.answer_handshakes()
        return ready

    def answer_handshakes(self, expected: str = "") -> None:
        """Judge the connections that wait to be let in; the refusal of `expected` is no news."""
        self._keys.refresh()
        self._gate.answer(expected)

    def _may_connect(self, public_key: str, domain: str) -> bool:
        return domain == DOMAIN and self._keys.holder(public_key) is not None

    def _tell_refused(self, verdict: Verdict) -> None:
        self._on_trouble("key refused", f"{verdict.public_key} {verdict.address}")

    def take(self) -> list[Said]:
        """Return messages that came, a bounded number; what is not shaped like one is dropped."""
        found: list[Said] = []
        for _ in range(MESSAGES_PER_TURN):
            try:
                parts = self.router.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            if not 2 <= len(parts) <= 3:
                self.counts["malformed"] += 1
                continue
            peer = Peer(parts[0].bytes, str(parts[1].get("User-Id")))
            data = parts[2].buffer if len(parts) == 3 else None
            found.append(Said(peer, parts[1].bytes, data))
        return found

    def send(self, peer: Peer, message: Message, data: bytes | None = None) -> None:
        """Answer somebody; raises Gone."""
        parts = [peer.route, encode(message, 0, message.SINCE)]  # a node may be a release behind
        if data is not None:
            parts.append(data)
        try:
            self.router.send_multipart(parts, zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                raise
            self.counts["answers_dropped"] += 1
            raise Gone from error

    def close(self) -> None:
        self.router.close(linger=0)
        self._gate.socket.close(linger=0)
        self.context.destroy(linger=0)
