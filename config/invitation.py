"""What is in the line of `remuda key invite`, and is a copy of it whole?

    remuda1_ + base64url of: length of the body (2 bytes) | body | checksum (6 bytes)

The body is a document with the scheduler's address and key, the secret half of the one-time key,
and what it is for. No character of a line means anything to a shell.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, field
from typing import Any

from ..protocol.codec import pack_document, unpack_document
from ..protocol.errors import Invalid, MalformedFrame
from .endpoints import check_endpoint
from .keys import KeyPair, check_public, fingerprint

PREFIX = "remuda1_"
LINE_CHARS_MAX = 4_096
LENGTH_BYTES, CHECK_BYTES = 2, 6
ANOTHER_LINE = "ask an admin for another line (`remuda key invite`)"
AGAIN = "copy the whole line that `remuda key invite` printed"


@dataclass(frozen=True, slots=True)
class Invitation:
    """What a newcomer needs to enrol; `name` is empty where it may choose one.

    The secret half of the one-time key never shows in a repr.
    """

    endpoint: str
    scheduler_public: str
    secret: str = field(repr=False)
    name: str
    role: str
    cluster: str

    @property
    def one_time_key(self) -> KeyPair:
        """Return the key whose only right is to enrol."""
        import zmq

        return KeyPair(zmq.curve_public(self.secret.encode()).decode(), self.secret)

    @property
    def fingerprint(self) -> str:
        """Return by what an admin knows this invitation."""
        return fingerprint(self.one_time_key.public)


def to_line(invitation: Invitation) -> str:
    """Write an invitation as one line."""
    body = pack_document(
        {
            "endpoint": invitation.endpoint,
            "scheduler": _packed(invitation.scheduler_public),
            "secret": _packed(invitation.secret),
            "name": invitation.name,
            "role": invitation.role,
            "cluster": invitation.cluster,
        }
    )
    raw = len(body).to_bytes(LENGTH_BYTES, "big") + body + _checksum(body)
    return PREFIX + base64.urlsafe_b64encode(raw).decode().rstrip("=")


def from_line(text: str) -> Invitation:
    """Read a line, also one that was wrapped or quoted on its way; raises Invalid."""
    line = "".join(text.split()).strip("'\"`")
    if not line:
        raise Invalid(f"there is no line: {AGAIN}")
    if not line.startswith(PREFIX):
        raise Invalid(f"this is not a line of `remuda key invite`, those begin with {PREFIX}")
    if len(line) > LINE_CHARS_MAX:
        raise Invalid(f"this is too long for a line of `remuda key invite`: {AGAIN}")
    return _from_body(_checked(line.removeprefix(PREFIX)))


def _checked(text: str) -> bytes:
    """Return the body of a line that is whole; raises Invalid."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    length = int.from_bytes(raw[:LENGTH_BYTES], "big") if len(raw) > LENGTH_BYTES else 0
    wanted = LENGTH_BYTES + length + CHECK_BYTES
    chars = -(-wanted * 4 // 3)
    if len(PREFIX) + chars > LINE_CHARS_MAX:
        raise Invalid(f"the line was changed on its way (no line is as long as it says): {AGAIN}")
    if not raw or len(raw) < wanted:
        missing = f": {chars - len(text)} of its characters are missing" if length else ""
        raise Invalid(f"the line is cut off{missing}: {AGAIN}")
    body, check = raw[LENGTH_BYTES : wanted - CHECK_BYTES], raw[wanted - CHECK_BYTES :]
    if check != _checksum(body):
        raise Invalid(f"the line was changed on its way (its checksum is wrong): {AGAIN}")
    return body


def _from_body(body: bytes) -> Invitation:
    try:
        table = unpack_document(body)
        invitation = Invitation(
            endpoint=check_endpoint(_text(table, "endpoint")),
            scheduler_public=_unpacked(table["scheduler"]),
            secret=_unpacked(table["secret"]),
            name=_text(table, "name"),
            role=_text(table, "role"),
            cluster=_text(table, "cluster"),
        )
        check_public(invitation.scheduler_public)
    except (MalformedFrame, KeyError, TypeError, ValueError) as error:
        raise Invalid(
            "this line was made by another version of remuda: upgrade this host to the version of "
            "the scheduler"
        ) from error
    return invitation


def _text(table: dict[str, Any], key: str) -> str:
    if not isinstance(table[key], str):
        raise TypeError(key)
    return str(table[key])


def _packed(key: str) -> bytes:
    from zmq.utils import z85

    return z85.decode(key)


def _unpacked(raw: Any) -> str:
    from zmq.utils import z85

    return z85.encode(raw).decode()


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2s(PREFIX.encode() + body, digest_size=CHECK_BYTES).digest()
