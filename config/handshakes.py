"""Who is let in? The verdict on each handshake, as ZeroMQ asks for it (ZAP, RFC 27)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import zmq
from zmq.utils import z85

ENDPOINT = "inproc://zeromq.zap.01"
PER_TURN = 256
KEY_BYTES = 32
_VERSION = b"1.0"
MayConnect = Callable[[str, str], bool]
"""Tells whether a public key (Z85; empty: none was shown) may connect under a domain."""


class Verdict(NamedTuple):
    """The answer to one handshake: the frames to send, and what to log if it was refused."""

    frames: list[bytes]
    accepted: bool
    public_key: str
    domain: str
    address: str


def judge(frames: Sequence[bytes], may_connect: MayConnect) -> Verdict | None:
    """Answer one ZAP request (without routing frames); None when it is no request at all."""
    if len(frames) < 6 or frames[0] != _VERSION:
        return None
    request, domain = frames[1], frames[2].decode("utf-8", "replace")
    address, mechanism = frames[3].decode("utf-8", "replace"), frames[5]
    public_key = ""
    if mechanism == b"CURVE" and len(frames) == 7 and len(frames[6]) == KEY_BYTES:
        public_key = z85.encode(frames[6]).decode("ascii")
    accepted = may_connect(public_key, domain)
    status = (b"200", b"OK") if accepted else (b"400", b"this key is not admitted here")
    reply = [_VERSION, request, *status, public_key.encode() if accepted else b"", b""]
    return Verdict(reply, accepted, public_key, domain, address)


class Gate:
    """The socket that is asked; it must stand before the first port opens.

    `on_refused` hears of strangers, `counts` of both kinds of what went wrong.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        may_connect: MayConnect,
        on_refused: Callable[[Verdict], None],
        counts: Counter[str],
    ) -> None:
        self._may_connect = may_connect
        self._on_refused = on_refused
        self._counts = counts
        self.socket: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind(ENDPOINT)

    def answer(self, expected: str = "") -> None:
        """Judge the connections that wait to be let in; the refusal of `expected` is no news."""
        for _ in range(PER_TURN):
            try:
                frames = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            verdict = judge(frames[2:], self._may_connect)
            if verdict is None:
                self._counts["zap_malformed"] += 1
                continue
            self.socket.send_multipart([*frames[:2], *verdict.frames])
            if not verdict.accepted and verdict.public_key != (expected or None):
                self._counts["refused_keys"] += 1
                self._on_refused(verdict)
