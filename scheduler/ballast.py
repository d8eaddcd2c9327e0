"""How much room has the disk of the journal, and what is kept back for when it has none?"""

from __future__ import annotations

import os
from pathlib import Path

FILE_NAME = "ballast"


class Ballast:
    """A file of real blocks that is removed when the disk is full, so that ends still commit."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self._folder = folder
        self._path = folder / FILE_NAME
        self.size_bytes = size_bytes

    @property
    def is_there(self) -> bool:
        """Tell whether the whole file stands; without a size there is nothing to wait for."""
        if not self.size_bytes:
            return True
        try:
            return self._path.stat().st_size >= self.size_bytes
        except FileNotFoundError:
            return False

    def make(self) -> bool:
        """Put the file there in its present size; return whether it stands."""
        if self.is_there:
            return True
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self.size_bytes)
            finally:
                os.close(descriptor)
        except OSError:  # no room for it, or a file system that cannot promise any
            self._path.unlink(missing_ok=True)
            return False
        return True

    def release(self) -> bool:
        """Give the room back to the disk; return whether there was any to give."""
        try:
            size = self._path.stat().st_size
            self._path.unlink()
        except FileNotFoundError:
            return False
        return size > 0

    def free_bytes(self) -> int:
        """Return what may still be written to the disk of the folder."""
        found = os.statvfs(self._folder)
        return found.f_bavail * found.f_frsize
