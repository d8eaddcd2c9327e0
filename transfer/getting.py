"""How does one object come from the store, verified before anybody sees it?"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from ..protocol.errors import Conflict, Invalid, RemudaError
from ..protocol.store_messages import CHUNK_BYTES, WINDOW_CHUNKS, GetChunk, GetCredit, GetObject
from .link import Heard, Link
from .pipeline import Step, unexpected

WINDOW_BYTES = WINDOW_CHUNKS * CHUNK_BYTES
READ_BYTES = 1 << 20
OWED_BYTES_MAX = WINDOW_BYTES // 2


class Sink(Protocol):
    """Where the bytes go."""

    size: int

    def open(self) -> None:
        """Get ready; `size` bytes are there already, of a try before."""

    def write(self, blob: memoryview) -> None: ...

    def digest(self) -> bytes:
        """Return the digest of all that is there."""

    def reset(self) -> None:
        """Throw away what is there."""

    def finish(self) -> None:
        """Let it be seen."""

    def close(self) -> None: ...


class FileSink:
    """A file beside the one that is to be; it takes its place when it is whole and verified."""

    def __init__(self, path: Path, digest: bytes) -> None:
        self._path = path
        self._partial = path.with_name(f".{path.name}.{digest.hex()[:16]}.part")
        self._descriptor = -1
        self._hashed = hashlib.sha256()
        self.size = 0

    def open(self) -> None:
        if self._descriptor >= 0:
            return  # of the connection before
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(self._partial, flags, 0o600)
        while blob := os.read(self._descriptor, READ_BYTES):
            self._hashed.update(blob)
            self.size += len(blob)

    def write(self, blob: memoryview) -> None:
        self._hashed.update(blob)
        while blob:
            count = os.write(self._descriptor, blob)
            self.size += count
            blob = blob[count:]

    def digest(self) -> bytes:
        return self._hashed.digest()

    def reset(self) -> None:
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._hashed = hashlib.sha256()
        self.size = 0

    def finish(self) -> None:
        self.close()
        self._partial.replace(self._path)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class MemorySink:
    """Bytes in memory."""

    def __init__(self) -> None:
        self.blob = bytearray()
        self.size = 0

    def open(self) -> None:
        """Nothing is to be opened."""

    def write(self, blob: memoryview) -> None:
        self.blob += blob
        self.size = len(self.blob)

    def digest(self) -> bytes:
        return hashlib.sha256(self.blob).digest()

    def reset(self) -> None:
        self.blob.clear()
        self.size = 0

    def finish(self) -> None:
        """They are there."""

    def close(self) -> None:
        """Nothing is to be closed."""


class Get:
    """One reading; `on_bytes` hears how many more bytes are there, less when it begins again."""

    def __init__(
        self, digest: bytes, claim: bytes, size: int, sink: Sink, on_bytes: Callable[[int], None]
    ) -> None:
        self._digest = digest
        self._claim = claim
        self._size = size
        self._sink = sink
        self._on_bytes = on_bytes
        self._counted = 0
        self._credited = 0
        self._resumed = False

    def begin(self, link: Link, request: int) -> Step:
        """Ask for what is not there yet."""
        sink = self._sink
        sink.open()
        if sink.size > self._size:
            sink.reset()
        if sink.size == self._size > 0:
            if sink.digest() == self._digest:
                return self._end()
            sink.reset()
        self._resumed = sink.size > 0
        self._credited = sink.size
        self._count()
        upto = sink.size + WINDOW_BYTES
        link.send(GetObject(request, self._digest, self._claim, sink.size, upto))
        return Step.GOING

    def on_message(self, link: Link, request: int, heard: Heard) -> Step:
        """Take a chunk and ask for one more."""
        message, sink = heard.message, self._sink
        if not isinstance(message, GetChunk) or heard.data is None:
            raise unexpected(message)
        if message.size != self._size:
            raise Invalid(
                f"object {self._digest.hex()[:12]} has {message.size} bytes, not {self._size}"
            )
        if message.offset != sink.size or sink.size + len(heard.data) > self._size:
            raise Conflict(f"bytes from {message.offset} on came, asked for were {sink.size}")
        sink.write(heard.data)
        self._count()
        if sink.size < self._size and sink.size - self._credited < OWED_BYTES_MAX:
            return Step.OWING
        self.settle(link, request)
        if sink.size < self._size:
            return Step.GOING
        if sink.digest() == self._digest:
            return self._end()
        sink.reset()
        if self._resumed:
            return Step.ANEW  # what was there before was not the beginning of it
        raise Conflict(
            f"object {self._digest.hex()[:12]} came damaged: the disk of the store may be failing"
        )

    def settle(self, link: Link, request: int) -> None:
        """Give credit for all that was taken in."""
        self._credited = self._sink.size
        link.send(GetCredit(request, self._credited + WINDOW_BYTES))

    def on_refusal(self, error: RemudaError) -> Step:
        self._sink.close()
        raise error

    def close(self) -> None:
        """Let go of the file; what is there can be resumed."""
        self._sink.close()

    def _end(self) -> Step:
        self._count()
        self._sink.finish()
        return Step.DONE

    def _count(self) -> None:
        self._on_bytes(self._sink.size - self._counted)
        self._counted = self._sink.size
