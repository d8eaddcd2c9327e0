"""How are objects kept in a folder of this host? One file each, in 256 folders by digest."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..protocol.claims import DIGEST_BYTES
from .backend import Staged

FOLDERS = 256
_MODE = 0o400  # nobody writes to an object, we neither


class LocalFolder:
    """Objects as files `objects/ab/abcd...`; staged files are on the same file system."""

    def __init__(self, root: Path) -> None:
        self._root = root / "objects"
        if self._root.exists():
            return
        fresh = root / "objects.new"
        for number in range(FOLDERS):
            (fresh / f"{number:02x}").mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_folder(fresh)
        fresh.rename(self._root)
        sync_folder(root)

    def bring(self, staged: Staged) -> None:
        """It lies here already: nothing is to be brought."""

    def publish(self, batch: Sequence[Staged]) -> None:
        """Rename staged files and make the names durable: one sync for each folder of a batch."""
        folders = set()
        for staged in batch:
            path = self._path(staged.digest)
            staged.path.chmod(_MODE)
            staged.path.replace(path)
            folders.add(path.parent)
        for folder in sorted(folders):
            sync_folder(folder)

    def drop(self, staged: Staged) -> None:
        """Remove a staged file."""
        staged.path.unlink(missing_ok=True)

    def remove(self, digests: Sequence[bytes]) -> None:
        """Unlink objects; a crash may bring some back, which the next start finds and removes."""
        for digest in digests:
            self._path(digest).unlink(missing_ok=True)

    def open(self, digest: bytes, size: int) -> LocalReader:
        """Open an object; raises OSError where its file has another size than it should."""
        descriptor = os.open(self._path(digest), os.O_RDONLY | os.O_CLOEXEC)
        found = os.fstat(descriptor).st_size
        if found != size:
            os.close(descriptor)
            raise OSError(f"object {digest.hex()} has {found} bytes on the disk instead of {size}")
        return LocalReader(descriptor)

    def digests(self) -> Iterator[bytes]:
        """Walk the folders; what has no name of an object is passed over."""
        for number in range(FOLDERS):
            with os.scandir(self._root / f"{number:02x}") as entries:
                for entry in entries:
                    if len(entry.name) == 2 * DIGEST_BYTES:
                        yield bytes.fromhex(entry.name)

    def close(self) -> None:
        """Nothing is held open."""

    def _path(self, digest: bytes) -> Path:
        name = digest.hex()
        return self._root / name[:2] / name


class LocalReader:
    """A file that stays readable even when the object is removed meanwhile."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, offset: int, count: int) -> bytes:
        """Return exactly so many bytes; raises OSError where the file is shorter."""
        blob = os.pread(self._descriptor, count, offset)
        if len(blob) != count:
            raise OSError(f"{count} bytes at {offset} were to be read, {len(blob)} are there")
        return blob

    def close(self) -> None:
        os.close(self._descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
