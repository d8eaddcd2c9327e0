"""How the scheduler recognises what it once granted: a keyed BLAKE2 over the attempt."""

from __future__ import annotations

import hashlib
import hmac

TOKEN_BYTES = 16


def make_token(secret: bytes, task_id: int, attempt: int, epoch: int) -> bytes:
    """Return the token of an attempt born in `epoch`; `secret` has 32 to 64 bytes."""
    grant = task_id.to_bytes(16, "big") + attempt.to_bytes(4, "big") + epoch.to_bytes(8, "big")
    return hashlib.blake2b(grant, key=secret, digest_size=TOKEN_BYTES).digest()


def same_token(left: bytes, right: bytes) -> bool:
    """Compare tokens in constant time."""
    return hmac.compare_digest(left, right)
