"""Who is let in? The verdict on each handshake."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from zmq.utils import z85

from .keys import LiveKeys

DOMAIN = "store"
ENDPOINT = "inproc://zeromq.zap.01"
_VERSION = b"1.0"
_KEY_BYTES = 32


class Verdict(NamedTuple):
    """The answer to one handshake; `public_key` is empty where none was shown."""

    frames: list[bytes]
    accepted: bool
    public_key: str
    address: str


def judge(frames: Sequence[bytes], keys: LiveKeys) -> Verdict | None:
    """Answer one ZAP request (without routing frames); None when it is no request at all."""
    if len(frames) < 6 or frames[0] != _VERSION:
        return None
    public_key = ""
    if frames[5] == b"CURVE" and len(frames) == 7 and len(frames[6]) == _KEY_BYTES:
        public_key = z85.encode(frames[6]).decode("ascii")
    accepted = keys.holder(public_key) is not None and frames[2] == DOMAIN.encode()
    status = (b"200", b"OK") if accepted else (b"400", b"this key is not admitted here")
    reply = [_VERSION, frames[1], *status, public_key.encode() if accepted else b"", b""]
    return Verdict(reply, accepted, public_key, frames[3].decode("utf-8", "replace"))
