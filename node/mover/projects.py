"""Where does the code of a project lie for the functions that import it, and when does it go?

`<root>/<digest of the tree>/` is complete from the moment at which it has its name, and read-only:
its files are those of the cache under other names. It stays while a living worker has it on its
path, while an attempt is to use it, and for as long as few others were used since.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ...protocol.trees import Entry
from . import copying
from .cache import Cache, stamp_of

KEPT_MAX = 16
"""Projects that are kept although nothing uses them."""
LOOK_EVERY_S = 30.0
_NEW = ".new-"


@dataclass(slots=True)
class Projects:
    """The unpacked projects of one node; any thread may use it.

    `users` are attempts that are to use one, `in_use` those that workers have on their path,
    `looked` says when one was last seen to be whole.
    """

    root: Path
    looked: dict[str, float] = field(default_factory=dict)
    users: dict[str, str] = field(default_factory=dict)
    in_use: frozenset[str] = frozenset()
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def scan(self) -> None:
        """Remove what was half unpacked."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self.root.iterdir():
            if path.name.startswith(_NEW):
                _remove(path)

    def join(self, digest: bytes, user: str) -> bool:
        """Let one more attempt use a project that was seen whole a moment ago; False for others."""
        name = digest.hex()
        with self._lock:
            is_known = time.monotonic() - self.looked.get(name, -LOOK_EVERY_S) < LOOK_EVERY_S
            if is_known:
                self.users[user] = name
            return is_known

    def unpack(self, digest: bytes, entries: list[Entry], cache: Cache, user: str) -> None:
        """Have a project in its place, whole; its objects are in the cache."""
        path = self.root / digest.hex()
        with self._lock:
            self.users[user] = digest.hex()
            if not self._is_whole(path, entries, cache):
                _remove(path)
                new = Path(tempfile.mkdtemp(prefix=_NEW, dir=self.root))
                for entry in entries:
                    target = new / entry.name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    if entry.kind == "exec":
                        copying.copy(cache.path(entry.digest), target, executable=True)
                        target.chmod(0o555)
                        os.utime(target, ns=(time.time_ns(), stamp_of(entry.digest, cache.boot_id)))
                    else:
                        copying.link(cache.path(entry.digest), target)
                for folder, _, _ in os.walk(new, topdown=False):
                    Path(folder).chmod(0o555)
                new.rename(path)
            os.utime(path)
            self.looked[digest.hex()] = time.monotonic()
            self._evict()

    def let_go(self, user: str) -> None:
        """Count an attempt as done with its project."""
        with self._lock:
            self.users.pop(user, None)

    def use(self, names: Iterable[str]) -> None:
        """Take in which projects the living workers have on their path."""
        with self._lock:
            self.in_use = frozenset(names)
            self._evict()

    def _is_whole(self, path: Path, entries: list[Entry], cache: Cache) -> bool:
        """Tell whether nothing of an unpacked project is missing or was changed."""
        if not path.is_dir():
            return False
        for entry in entries:
            try:
                found = (path / entry.name).stat()
            except OSError:
                return False
            stamp = stamp_of(entry.digest, cache.boot_id)
            if (found.st_size, found.st_mtime_ns) != (entry.size, stamp):
                return False
        return True

    def _evict(self) -> None:
        needed = self.in_use | set(self.users.values())
        idle = [path for path in self.root.iterdir() if path.name not in needed]
        idle.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in idle[KEPT_MAX:]:
            self.looked.pop(path.name, None)
            _remove(path)


def _remove(path: Path) -> None:
    """Remove a project; under another name first, so that it is never there in parts."""
    if not path.exists():
        return
    aside = path.with_name(f"{_NEW}{time.time_ns()}")
    path.rename(aside)
    for folder, _, _ in os.walk(aside):
        Path(folder).chmod(0o700)
    shutil.rmtree(aside, ignore_errors=True)
