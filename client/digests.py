"""What is the SHA-256 of a file, without reading it again while it has not changed?

A file is taken for unchanged while size, inode and both times are what they were when it was read,
and it was not written just before that: a later write might then have the same time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgpack

from ..config.home import write_atomically
from ..transfer.hashing import digest_file

SETTLED_NS = 2 * 10**9
FILES_KEPT_MAX = 64
"""Caches of so many folders are kept."""
CACHE_BYTES_MAX = 64 << 20
_FORM = 1
State = tuple[int, int, int, int, int]


class Digests:
    """The digests of the files of one folder, remembered in a file of our own cache."""

    def __init__(self, folder: Path, cache_dir: Path | None = None) -> None:
        name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:32]
        self._path = (cache_dir or default_cache_dir()) / "digests" / name
        self._known = _load(self._path)
        self._seen: dict[str, tuple[State, bytes]] = {}
        self._is_changed = False
        self.read = 0

    def of(
        self,
        path: Path,
        status: os.stat_result,
        on_read: Callable[[int], None] | None = None,
    ) -> tuple[bytes, int]:
        """Return digest and size of a file; raises Conflict or OSError.

        `on_read` hears how many bytes were read so far.
        """
        state, name = _state(status), os.fspath(path)
        known = self._known.get(name)
        if known is not None and known[0] == state:
            self._seen[name] = known
            return known[1], status.st_size
        found = digest_file(path, on_read)
        self.read += 1
        self._is_changed = True
        if status.st_mtime_ns < time.time_ns() - SETTLED_NS:
            self._seen[name] = (state, found.digest)
        return found.digest, found.size

    def save(self) -> None:
        """Remember what was seen; that it cannot be written only costs the next one time."""
        if not self._is_changed and len(self._seen) == len(self._known):
            return
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(self._path, msgpack.packb([_FORM, self._seen]))
            _thin_out(self._path.parent)


def default_cache_dir() -> Path:
    """Return where this user keeps what can be made anew."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "remuda")


def _load(path: Path) -> dict[str, tuple[State, bytes]]:
    try:
        if path.stat().st_size > CACHE_BYTES_MAX:
            return {}
        form, known = msgpack.unpackb(path.read_bytes(), use_list=False)
        return dict(known) if form == _FORM else {}
    except (OSError, ValueError, TypeError, msgpack.UnpackException):
        return {}


def _thin_out(folder: Path) -> None:
    kept = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in kept[FILES_KEPT_MAX:]:
        path.unlink(missing_ok=True)


def _state(status: os.stat_result) -> State:
    times = (status.st_mtime_ns, status.st_ctime_ns)
    return status.st_size, status.st_ino, status.st_dev, *times
