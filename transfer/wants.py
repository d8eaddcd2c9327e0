"""What is to be moved: objects that go to the store, and objects that come from it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..protocol.store_messages import NAME_BYTES

Progress = Callable[[int, int], None]
"""Called with the bytes that are done and the bytes in all."""


@dataclass(frozen=True, slots=True)
class Source:
    """An object to put: the file or the bytes, and the digest and size that they had.

    See `unread` for a file of which nobody knows the digest.

    `claims` prove the right to the object, or, for a tree, to members that others have put.
    """

    content: Path | bytes | bytearray | memoryview
    digest: bytes
    size: int
    tree: bool = False
    claims: Sequence[bytes] = ()

    @property
    def is_unread(self) -> bool:
        return len(self.digest) == NAME_BYTES


def unread(path: Path) -> Source:
    """Return a large file that is read only once, on its way: the claim will tell its digest.

    It is sent also where the store has these bytes already. Raises OSError.
    """
    status = path.stat()
    return Source(path, name_of(status), status.st_size)


def name_of(status: os.stat_result) -> bytes:
    """Name a file that nobody has read: it has another name once it is written to.

    A sender that starts anew, and goes on, finds the same name.
    """
    times = (status.st_mtime_ns, status.st_ctime_ns)
    seen = (status.st_dev, status.st_ino, status.st_size, *times)
    return hashlib.blake2b(repr(seen).encode(), digest_size=NAME_BYTES).digest()


@dataclass(frozen=True, slots=True)
class Want:
    """An object to get, by which claim (empty: as who has put it), and the file to make of it.

    The claim may be that of a tree that names the object.
    """

    digest: bytes
    claim: bytes
    size: int
    path: Path
