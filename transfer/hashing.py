"""What is the SHA-256 of a file, read so that one notices when it changes meanwhile?"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..protocol.errors import Conflict

READ_BYTES = 1 << 20


class Digest(NamedTuple):
    """The SHA-256 and the size of an object."""

    digest: bytes
    size: int


def digest_bytes(blob: bytes | bytearray | memoryview) -> Digest:
    """Return digest and size of bytes."""
    view = memoryview(blob)
    return Digest(hashlib.sha256(view).digest(), view.nbytes)


def digest_file(path: Path, on_read: Callable[[int], None] | None = None) -> Digest:
    """Read a file once; raises Conflict where it changed meanwhile, and OSError.

    `on_read` hears how many bytes were read so far.
    """
    hashed = hashlib.sha256()
    size = 0
    buffer = bytearray(READ_BYTES)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        before = os.fstat(file.fileno())
        while count := file.readinto(buffer):
            hashed.update(view[:count])
            size += count
            if on_read is not None:
                on_read(size)
        after = os.fstat(file.fileno())
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise Conflict(f"{path} changed while it was read: wait until it is written")
    return Digest(hashed.digest(), size)
