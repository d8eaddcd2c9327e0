"""What must a place for the bytes of objects be able to do? One small interface for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol


class Staged(NamedTuple):
    """An object whose bytes were verified and stand, durable, in a file of the staging folder."""

    digest: bytes
    size: int
    path: Path


class Reader(Protocol):
    """An object that is being read."""

    def read(self, offset: int, count: int) -> bytes:
        """Return exactly so many bytes; raises OSError."""

    def close(self) -> None: ...


class Backend(Protocol):
    """Where objects are kept; every method may block and raise OSError.

    `bring` and `read` are called from several threads, the others from one at a time.
    """

    def bring(self, staged: Staged) -> None:
        """Bring a staged object near: what takes long and is not yet to be seen."""

    def publish(self, batch: Sequence[Staged]) -> None:
        """Make objects durable under their digests; on return a crash does not lose them."""

    def drop(self, staged: Staged) -> None:
        """Let go of a staged object that is not to be published."""

    def remove(self, digests: Sequence[bytes]) -> None:
        """Remove objects; those that are not there are no error."""

    def open(self, digest: bytes, size: int) -> Reader:
        """Open an object of that size; raises FileNotFoundError where there is none."""

    def digests(self) -> Iterator[bytes]:
        """Return the digests of all that is kept."""

    def close(self) -> None: ...
