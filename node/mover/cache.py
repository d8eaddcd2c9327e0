"""Which objects does this node have already, are they still what they were, and which one goes?

An object lies at `<root>/<2 hex>/<SHA-256>`, read-only. Its time of change is a stamp made of its
digest and of this boot of the host: whoever writes into it takes the stamp away, and so does a
restart, after which a file may have its size and not its bytes. Without its stamp an object is
hashed before it is used again, and thrown away when it is not what its name says. The time of
access is that of the last use: the object that nobody used for longest goes first.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ...protocol.resources import format_bytes

NAME_CHARS = 64
STRAY_S = 24 * 3600.0
"""A file with another name is an arrival that was cut off; it is resumed, or removed after this."""
STAMP_S_MIN = 1_000_000_000
STAMP_S_RANGE = 1 << 28


class NoRoom(OSError):  # noqa: N818 - an outcome
    """The disk would have less free than it must."""


@dataclass(slots=True)
class Entry:
    """One object: its size, and when it was last used."""

    size: int
    used_ns: int


@dataclass(slots=True)
class Cache:
    """The objects of one node; any thread may use it.

    `pins` are the objects that each attempt needs: they stay. `arriving` are being fetched.
    `free_more` is asked for so many bytes of the disk when letting objects go is not enough.
    """

    root: Path
    bytes_max: int
    disk_free_bytes_min: int
    boot_id: str
    free_more: Callable[[int], object] = int
    entries: dict[bytes, Entry] = field(default_factory=dict)
    pins: dict[str, frozenset[bytes]] = field(default_factory=dict)
    arriving: set[bytes] = field(default_factory=set)
    total_bytes: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def scan(self, now_s: float | None = None) -> None:
        """Take in what is on disk; remove what was cut off long ago."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        oldest = (time.time() if now_s is None else now_s) - STRAY_S
        for folder in self.root.iterdir():
            if len(folder.name) != 2 or not folder.is_dir():
                continue
            for path in folder.iterdir():
                status = path.lstat()
                digest = _digest_of(path.name)
                if digest is not None:
                    self.entries[digest] = Entry(status.st_size, status.st_atime_ns)
                    self.total_bytes += status.st_size
                elif status.st_mtime < oldest:
                    path.unlink(missing_ok=True)

    def path(self, digest: bytes) -> Path:
        """Say where an object lies, or will."""
        name = digest.hex()
        return self.root / name[:2] / name

    def pin(self, name: str, digests: Iterable[bytes]) -> None:
        """Keep objects for as long as an attempt needs them."""
        with self.changed:
            self.pins[name] = self.pins.get(name, frozenset()) | frozenset(digests)

    def unpin(self, name: str) -> None:
        """Let objects go that only this attempt needed; what is too much goes now."""
        with self.changed:
            if self.pins.pop(name, None) is not None:
                self._evict(0)

    def claim(self, wanted: dict[bytes, int]) -> tuple[list[bytes], list[bytes]]:
        """Return which objects the caller is to fetch, and which ones others are fetching.

        What is neither is here, whole and right. Each one claimed is to be settled.
        """
        mine: list[bytes] = []
        others: list[bytes] = []
        for digest, size in wanted.items():
            with self.changed:
                if digest in self.arriving:
                    others.append(digest)
                    continue
                self.arriving.add(digest)
            # Hashing may take a while: nobody else takes it up meanwhile.
            if self._is_right(digest, size):
                self.settle([digest])
            else:
                mine.append(digest)
        return mine, others

    def settle(self, digests: Iterable[bytes]) -> None:
        """End the fetching of objects, whatever came of it."""
        with self.changed:
            self.arriving.difference_update(digests)
            self.changed.notify_all()

    def wait(self, digests: Iterable[bytes], timeout_s: float) -> None:
        """Wait until others have ended the fetching of these objects, or a while."""
        waiting = list(digests)
        with self.changed:
            self.changed.wait_for(lambda: self.arriving.isdisjoint(waiting), timeout_s)

    def make_room(self, size: int) -> None:
        """Let old objects go until so many bytes fit; raises NoRoom.

        What living attempts need may take more than the bound for a while, never the disk's floor.
        """
        with self.changed:
            self._evict(size)
        self.hold_free(size)

    def hold_free(self, size: int) -> None:
        """Let old objects go until the disk takes so many bytes elsewhere; raises NoRoom."""
        if self._lacks(size) <= 0:
            return
        with self.changed:
            self._evict_while(lambda: self._lacks(size) > 0)
        if (lacks := self._lacks(size)) > 0:
            self.free_more(lacks)
        if self._lacks(size) > 0:
            raise NoRoom(
                f"{format_bytes(size)} are to come, {format_bytes(free_bytes(self.root))} are free "
                f"on the disk of {self.root}, and {format_bytes(self.disk_free_bytes_min)} must "
                "stay free ([node] cache_disk_free_min)"
            )

    def admit(self, digest: bytes) -> None:
        """Take in an object that has arrived, verified, at its path."""
        path = self.path(digest)
        size = path.stat().st_size
        path.chmod(0o444)
        with self.changed:
            self._forget(digest)
            now_ns = time.time_ns()
            os.utime(path, ns=(now_ns, stamp_of(digest, self.boot_id)))
            self.entries[digest] = Entry(size, now_ns)
            self.total_bytes += size

    def _is_right(self, digest: bytes, size: int) -> bool:
        """Tell whether an object is here and what its name says, looking into it if need be."""
        path = self.path(digest)
        stamp = stamp_of(digest, self.boot_id)
        try:
            status = path.stat()
            found = status.st_size == size and (
                status.st_mtime_ns == stamp or _digest(path) == digest
            )
        except OSError:  # not here
            found = False
        with self.changed:
            if not found:
                path.unlink(missing_ok=True)
                self._forget(digest)
                return False
            now_ns = time.time_ns()
            os.utime(path, ns=(now_ns, stamp))
            if digest not in self.entries:
                self.total_bytes += size
            self.entries[digest] = Entry(size, now_ns)
        return True

    def _forget(self, digest: bytes) -> None:
        entry = self.entries.pop(digest, None)
        if entry is not None:
            self.total_bytes -= entry.size

    def _evict(self, coming: int) -> None:
        """Keep to the bound."""
        self._evict_while(lambda: self.total_bytes + coming > self.bytes_max)

    def _evict_while(self, is_needed: Callable[[], bool]) -> None:
        """Remove the objects that were not used for longest."""
        if not is_needed():
            return
        pinned = frozenset().union(*self.pins.values()) | self.arriving
        free = [digest for digest in self.entries if digest not in pinned]
        free.sort(key=lambda digest: self.entries[digest].used_ns)
        for digest in free:
            self.path(digest).unlink(missing_ok=True)
            self._forget(digest)
            if not is_needed():
                return

    def _lacks(self, size: int) -> int:
        """Return how many bytes too few are free for so many more."""
        return self.disk_free_bytes_min + size - free_bytes(self.root)


def free_bytes(folder: Path) -> int:
    """Return how many bytes more the disk of a folder takes."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def stamp_of(digest: bytes, boot_id: str) -> int:
    """Return the time of change, in ns, that an object has as long as it is what it was."""
    seed = hashlib.blake2b(digest + boot_id.encode(), digest_size=8).digest()
    number = int.from_bytes(seed, "big")
    seconds = STAMP_S_MIN + number % STAMP_S_RANGE
    # In 100 ns, which every file system keeps that keeps more than seconds.
    return seconds * 1_000_000_000 + (number >> 32) % 10_000_000 * 100


def _digest_of(name: str) -> bytes | None:
    if len(name) != NAME_CHARS:
        return None
    try:
        return bytes.fromhex(name)
    except ValueError:
        return None


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
