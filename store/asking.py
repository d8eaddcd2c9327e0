"""How does the store ask the scheduler whether tasks still refer to objects?"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from pathlib import Path

import zmq

from ..config.endpoints import read_endpoints
from ..config.keys import load_key_pair
from ..protocol.codec import decode, encode
from ..protocol.errors import RemudaError, Unreachable, from_wire
from ..protocol.messages import Failure, Referenced, References
from .wire import Socket

ANSWER_S = 30.0
HANDSHAKE_MS = 5_000


class Asking:
    """One question at a time, on a connection of its own that ends with the answer."""

    def __init__(self, context: zmq.Context[Socket], endpoints_file: Path, key_file: Path) -> None:
        self._context = context
        self._endpoints_file = endpoints_file
        self._key_file = key_file
        self.socket: Socket | None = None
        self._correlation = b""
        self._ends_s = 0.0

    def ask(self, digests: Sequence[bytes]) -> Socket:
        """Send the question and return the socket to watch; raises RemudaError."""
        endpoints = read_endpoints(self._endpoints_file)
        if endpoints is None:
            raise Unreachable("no scheduler runs in this home")
        pair = load_key_pair(self._key_file)
        socket: Socket = self._context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.IPV6, 1)
        socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        socket.curve_serverkey = endpoints.scheduler_public.encode()
        socket.curve_publickey = pair.public.encode()
        socket.curve_secretkey = pair.secret.encode()
        socket.connect(endpoints.url("control"))
        self._correlation = secrets.token_bytes(8)
        socket.send_multipart((self._correlation, b"", encode(References(list(digests)), 0)))
        self._ends_s = time.monotonic() + ANSWER_S
        self.socket = socket
        return socket

    def answer(self) -> list[bool] | None:
        """Return the answer, None while there is none; raises RemudaError when it is a refusal."""
        assert self.socket is not None
        try:
            frames = self.socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            if time.monotonic() > self._ends_s:
                raise Unreachable(f"the scheduler did not answer within {ANSWER_S:g} s") from None
            return None
        if len(frames) != 3 or frames[0] != self._correlation:
            return None
        message = decode(frames[2]).message
        if isinstance(message, Failure):
            raise from_wire(message.code, message.message)
        if not isinstance(message, Referenced):
            raise RemudaError(f"the scheduler answered {type(message).__name__}")
        return message.held

    def hang_up(self) -> None:
        """End the connection, answered or not."""
        if self.socket is not None:
            self.socket.close(linger=0)
            self.socket = None
