"""What is to be moved: objects that go to the store, and objects that come from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

Progress = Callable[[int, int], None]
"""Called with the bytes that are done and the bytes in all."""


@dataclass(frozen=True, slots=True)
class Source:
    """An object to put: the file or the bytes, and the digest and size that they had.

    `claims` prove the right to the object, or, for a tree, to members that others have put.
    """

    content: Path | bytes | bytearray | memoryview
    digest: bytes
    size: int
    tree: bool = False
    claims: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True)
class Want:
    """An object to get, by which claim (empty: as who has put it), and the file to make of it.

    The claim may be that of a tree that names the object.
    """

    digest: bytes
    claim: bytes
    size: int
    path: Path
