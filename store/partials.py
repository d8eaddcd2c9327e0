"""What of an upload is on the disk before it is whole, and how does it go on after a crash?"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..protocol.errors import Conflict
from .backend import Staged

IDLE_PER_KEY_MAX = 256
READ_BYTES = 1 << 20
FLUSH_BYTES = 32 << 20
"""Written bytes after which the disk is told to begin, so that the last sync is short."""


class NotWhatItIsNamed(Conflict):
    """The bytes that came have another digest."""


@dataclass(slots=True)
class Idle:
    """A partial file that nobody writes now."""

    path: Path
    size: int
    touched_s: float


@dataclass(slots=True)
class Upload:
    """A partial file that is being written; used by one thread at a time.

    `digest` is that of the object, or nothing where only its bytes will tell.
    """

    digest: bytes
    path: Path
    descriptor: int
    size: int = 0
    hashed: hashlib._Hash = field(default_factory=hashlib.sha256)

    def append(self, chunks: Iterable[bytes | memoryview]) -> int:
        """Write chunks at the end; return how many bytes there are now."""
        for chunk in chunks:
            self.hashed.update(chunk)
            self.size += _write_all(self.descriptor, chunk)
        return self.size

    def flush(self) -> None:
        """Begin to bring what was written to the disk; another thread may go on writing."""
        os.fdatasync(self.descriptor)

    def finish(self) -> Staged:
        """Verify the digest and make the bytes durable; raises NotWhatItIsNamed."""
        found = self.hashed.digest()
        if self.digest not in (b"", found):
            self.path.unlink(missing_ok=True)
            raise _other_digest(self.digest, found.hex())
        os.fdatasync(self.descriptor)
        return Staged(found, self.size, self.path)

    def close(self) -> None:
        os.close(self.descriptor)


def open_upload(path: Path, digest: bytes, size_max: int) -> Upload:
    """Open a partial file, or begin one; what is there is read again, for the digest."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    upload = Upload(digest, path, os.open(path, flags, 0o600))
    try:
        if os.fstat(upload.descriptor).st_size > size_max:
            os.ftruncate(upload.descriptor, 0)
        while blob := os.read(upload.descriptor, READ_BYTES):
            upload.hashed.update(blob)
            upload.size += len(blob)
    except OSError:
        upload.close()
        raise
    return upload


def stage_small(path: Path, digest: bytes, chunks: Sequence[bytes | memoryview]) -> Staged:
    """Write a small object whole and durably; raises NotWhatItIsNamed."""
    hashed = hashlib.sha256()
    for chunk in chunks:
        hashed.update(chunk)
    if hashed.digest() != digest:
        raise _other_digest(digest, hashed.hexdigest())
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        size = sum(_write_all(descriptor, chunk) for chunk in chunks)
        os.fdatasync(descriptor)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    return Staged(digest, size, path)


class Partials:
    """The folder of unfinished uploads, by key and digest: a resumed one goes on where it was.

    Small objects are never there: they are written whole, under a number, in `tmp`.
    """

    def __init__(self, root: Path) -> None:
        self._folder = root / "partial"
        self._tmp = root / "tmp"
        for folder in (self._folder, self._tmp):
            folder.mkdir(mode=0o700, exist_ok=True)
        self._numbers = 0
        self.idle: dict[str, Idle] = {}
        self.idle_bytes = 0

    def recover(self) -> None:
        """Remove what was being written as a whole, and find uploads that can go on."""
        for path in self._tmp.iterdir():
            path.unlink()
        for path in self._folder.iterdir():
            status = path.stat()
            self._note(path, status.st_size, status.st_mtime)

    def name(self, key: str, digest: bytes) -> str:
        """Name the partial file of an upload."""
        return f"{_of_key(key)}-{digest.hex()}"

    def begin(self, name: str) -> Path:
        """Say where a partial file is; it is no longer idle."""
        self._forget(name)
        return self._folder / name

    def small(self) -> Path:
        """Say where the next small object is written."""
        self._numbers += 1
        return self._tmp / str(self._numbers)

    def rest(self, name: str) -> None:
        """Keep a partial file for its next try, if it is still there; of one key the oldest go."""
        path = self._folder / name
        try:
            status = path.stat()
        except FileNotFoundError:
            return  # it became an object, or was none
        if not status.st_size:
            path.unlink()
            return
        self._note(path, status.st_size, time.time())
        prefix = name.partition("-")[0]
        of_key = [each for each in self.idle if each.startswith(prefix)]
        if len(of_key) > IDLE_PER_KEY_MAX:
            self._drop(min(of_key, key=lambda each: self.idle[each].touched_s))

    def expire(self, before_s: float) -> int:
        """Remove what nobody has touched since a moment of Unix time; return how many went."""
        old = [name for name, idle in self.idle.items() if idle.touched_s < before_s]
        for name in old:
            self._drop(name)
        return len(old)

    def idle_bytes_without(self, name: str) -> int:
        """Return the bytes of idle partial files, but for one that is about to go on."""
        own = self.idle.get(name)
        return self.idle_bytes - (own.size if own else 0)

    def _note(self, path: Path, size: int, touched_s: float) -> None:
        self._forget(path.name)
        self.idle[path.name] = Idle(path, size, touched_s)
        self.idle_bytes += size

    def _forget(self, name: str) -> Idle | None:
        idle = self.idle.pop(name, None)
        self.idle_bytes -= idle.size if idle else 0
        return idle

    def _drop(self, name: str) -> None:
        idle = self._forget(name)
        if idle is not None:
            idle.path.unlink(missing_ok=True)


def _write_all(descriptor: int, chunk: bytes | memoryview) -> int:
    """Write a chunk, however often the system stops in between; return its length."""
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view) :]
    return len(chunk)


def _of_key(key: str) -> str:
    return hashlib.blake2b(key.encode(), digest_size=8).hexdigest()


def _other_digest(wanted: bytes, found: str) -> NotWhatItIsNamed:
    return NotWhatItIsNamed(
        f"the bytes that came are not object {wanted.hex()[:12]} but {found[:12]}: "
        "was the file changed meanwhile?"
    )
