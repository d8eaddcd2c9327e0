"""Where does a task find its files, and when does its directory go?

`<root>/<task hex>.<attempt>/` has `work` (the task's own) and `objects` (read-only, by digest). It
goes some time after the end of its attempt, which its time of change tells, and sooner when the
directories of ended attempts take more disk than they may.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MEASURED_ENTRIES_MAX = 200_000
KEPT_MAX = 10_000
SWEEP_EVERY_S = 600.0
STRAY_S = 3600.0


@dataclass(slots=True)
class Directories:
    """The directories of all attempts of a node; `ended` holds (end, bytes) of those that wait.

    `living` are those whose end is still to be told. A worker makes one by itself for what a call
    returns: if it died of it, nobody tells of its end.
    """

    root: Path
    keep_s: float
    bytes_max: int
    ended: dict[str, tuple[float, int]] = field(default_factory=dict)
    living: set[str] = field(default_factory=set)
    _swept_s: float = 0.0

    def scan(self, living: Iterable[str]) -> None:
        """Take in what earlier agents left; what nobody holds any more ended then."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.living |= set(living)
        self._take_strays(time.time())

    def make(self, name: str) -> Path:
        """Make the directory of an attempt that has not begun, anew if it was half made."""
        self.remove(name)
        self.living.add(name)
        path = self.root / name
        (path / "work").mkdir(mode=0o700, parents=True)
        (path / "objects").mkdir(mode=0o700)
        return path

    def visit(self, name: str) -> Path:
        """Return the directory of an attempt whose end is still to be told."""
        self.living.add(name)
        return self.root / name

    def end(self, name: str) -> None:
        """Count an attempt as over from now on."""
        self.living.discard(name)
        path = self.root / name
        if not path.is_dir():
            return
        os.utime(path)
        self.ended[name] = (time.time(), _size(path))

    def expire(self, now_s: float) -> None:
        """Remove what is too old, too much or too many; the oldest first."""
        if now_s - self._swept_s >= SWEEP_EVERY_S:
            self._take_strays(now_s - STRAY_S)
            self._swept_s = now_s
        total = sum(size for _, size in self.ended.values())
        for name, (end_s, size) in list(self.ended.items()):
            is_old = now_s - end_s >= self.keep_s
            if not (is_old or total > self.bytes_max or len(self.ended) > KEPT_MAX):
                continue
            self.remove(name)
            total -= size

    def free(self, size: int) -> None:
        """Remove the directories of ended attempts until so many bytes are free."""
        for name, (_, bytes_here) in list(self.ended.items()):
            if size <= 0:
                return
            self.remove(name)
            size -= bytes_here

    def remove(self, name: str) -> None:
        """Remove a directory, whatever its task did to it."""
        self.ended.pop(name, None)
        self.living.discard(name)
        path = self.root / name
        if path.is_symlink() or path.is_file():
            path.unlink(missing_ok=True)
        elif path.exists():
            shutil.rmtree(path, onerror=_open_up)

    def _take_strays(self, before_s: float) -> None:
        """Count as ended what nobody holds and nobody touched since then, the oldest first."""
        known = self.living | self.ended.keys()
        strays = [path for path in self.root.iterdir() if path.name not in known]
        for path in sorted(strays, key=_changed):
            if _changed(path) <= before_s:
                self.ended[path.name] = (_changed(path), _size(path))


def _open_up(function: Callable[..., Any], path: str, _error: object) -> None:
    """Make a folder that its task closed removable, and try again; what stays is tried later."""
    parent = Path(path).parent
    try:
        for folder in (parent, Path(path)):
            if not folder.is_symlink() and folder.is_dir():
                folder.chmod(stat.S_IRWXU)
        if function in (os.scandir, os.open):
            shutil.rmtree(path, ignore_errors=True)
        else:
            function(path)
    except OSError:
        return


def _changed(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:  # gone meanwhile
        return 0.0


def _size(path: Path) -> int:
    """Return the disk that a tree takes, as far as it can be looked at."""
    total = 0
    left = MEASURED_ENTRIES_MAX
    for folder, _, names in os.walk(path):
        for name in names:
            left -= 1
            if left < 0:
                return total
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512  # noqa: PTH118 - many
            except OSError:
                continue
    return total
