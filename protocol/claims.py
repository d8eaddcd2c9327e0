"""Who may read or refer to an object of the store: a claim, signed for one holder.

A digest alone opens nothing. The store signs `HAVE` for whoever has put an object, or may read it,
and promises to keep it until then; the scheduler signs `READ` for whom a task entitles. Both know
the secret, nobody else does.

A claim has 64 bytes: SHA-256 of the object (32), its size and the end of the claim in Unix
milliseconds (8 each, big endian), and a keyed BLAKE2b of these, of the verb and of the holder's
public key (16).
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import NamedTuple

from .errors import Invalid, NotAllowed

DIGEST_BYTES = 32
CLAIM_BYTES = 64
OBJECT_BYTES = 40
SECRET_BYTES = 32
OBJECTS_PER_TASK_MAX = 1_000
"""What needs more is a tree: one object that names others.

A task's claims are then 64 KB of a frame of 4 MiB, in which senders count them; what a result says
of as many files, each by a path of up to 1 KiB, fits beside them.
"""
_SIGNED = struct.Struct(">32sQQ")
_OBJECT = struct.Struct(">32sQ")
_MAC_BYTES = CLAIM_BYTES - _SIGNED.size


class Verb(Enum):
    """What a claim is good for."""

    HAVE = "have"
    READ = "read"


class Object(NamedTuple):
    """What a claim is about."""

    digest: bytes
    size: int


class Claim(NamedTuple):
    """What a claim says, before anybody has checked it."""

    digest: bytes
    size: int
    expires_ms: int

    @property
    def object(self) -> Object:
        return Object(self.digest, self.size)


def sign(secret: bytes, verb: Verb, holder: str, claim: Claim) -> bytes:
    """Write a claim for the holder of a public key (Z85)."""
    body = _SIGNED.pack(*claim)
    return body + _mac(secret, verb, holder, body)


def check(secret: bytes, verb: Verb, holder: str, blob: bytes, now_ms: int) -> Claim:
    """Read a claim that is good for this holder now; raises Invalid or NotAllowed."""
    claim = read(blob)
    mac = _mac(secret, verb, holder, blob[: _SIGNED.size])
    if not hmac.compare_digest(mac, blob[_SIGNED.size :]):
        raise NotAllowed(f"object {claim.digest.hex()[:12]}: this claim is not good for this key")
    if claim.expires_ms < now_ms:
        raise NotAllowed(
            f"object {claim.digest.hex()[:12]}: this claim has ended: ask for a new one"
        )
    return claim


def read(blob: bytes) -> Claim:
    """Read what a claim says, unchecked; raises Invalid for what is none."""
    if len(blob) != CLAIM_BYTES:
        raise Invalid(f"a claim has {CLAIM_BYTES} bytes, found {len(blob)}", field="objects")
    return Claim(*_SIGNED.unpack_from(blob))


def split(blob: bytes, most: int = OBJECTS_PER_TASK_MAX) -> list[bytes]:
    """Cut claims that stand one after the other; raises Invalid."""
    if len(blob) % CLAIM_BYTES:
        raise Invalid(f"claims are {CLAIM_BYTES} bytes each, found {len(blob)}", field="objects")
    if len(blob) > most * CLAIM_BYTES:
        raise Invalid(
            f"a task names at most {most} objects, found {len(blob) // CLAIM_BYTES}: "
            "put them into a tree",
            field="objects",
        )
    return [blob[at : at + CLAIM_BYTES] for at in range(0, len(blob), CLAIM_BYTES)]


def join_objects(objects: Iterable[Object]) -> bytes:
    """Write digests and sizes one after the other, as they are kept."""
    return b"".join(_OBJECT.pack(*each) for each in objects)


def split_objects(blob: bytes) -> Iterator[Object]:
    """Read what `join_objects` wrote."""
    return (Object(*each) for each in _OBJECT.iter_unpack(blob))


def _mac(secret: bytes, verb: Verb, holder: str, body: bytes) -> bytes:
    person = verb.value.encode()
    return hashlib.blake2b(
        body + holder.encode(), key=secret, person=person, digest_size=_MAC_BYTES
    ).digest()
