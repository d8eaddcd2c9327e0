"""A scheduler on a disk that does what the test says: full, slow, failing, of a size of its own.

Run as a script it registers a SQLite VFS as the default one, then is the real daemon. The test
writes its wishes to `disk.json` in the home; they are read at each write and each sync.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import apsw

from remuda.config.home import Home

WISHES = "disk.json"
PROGRAM = ("-P", __file__)
BLOCK_BYTES = 4096
BELOW = "unix"


def wish(home: Path, *, free_bytes: int | None = None, **wishes: Any) -> None:
    """Say what the disk of the scheduler in this home shall do from now on, and nothing else."""
    if free_bytes is not None:
        wishes["size_bytes"] = free_bytes + _used_bytes(Home(home).scheduler_dir)
    new = home / f"{WISHES}.new"
    new.write_text(json.dumps(wishes))
    new.replace(home / WISHES)


def _used_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir()) if folder.exists() else 0


class Disk:
    """What the test wishes.

    `size_bytes`: all files of the state directory together fit in so much. `sync_s`: a sync takes
    so long. `fail`: "sync" or "write" ends in an I/O error from now on.
    """

    def __init__(self, home: Path) -> None:
        self.state = Home(home).scheduler_dir
        self._wishes = home / WISHES

    def wishes(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._wishes.read_text())
        except FileNotFoundError:
            return {}
        return found

    def free_bytes(self) -> int | None:
        """Return what the wished size leaves; None without such a wish."""
        size = self.wishes().get("size_bytes")
        if size is None:
            return None
        return max(int(size) - _used_bytes(self.state), 0)

    def check_growth(self, grows_by: int) -> bool:
        free = self.free_bytes()
        return free is None or grows_by <= 0 or grows_by <= free


class BadFile(apsw.VFSFile):
    """A file of SQLite on that disk."""

    def __init__(self, disk: Disk, inherit: str, name: Any, flags: list[int]) -> None:
        self._disk = disk
        super().__init__(inherit, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - apsw's name
        if self._disk.wishes().get("fail") == "write":
            raise _io_error(apsw.SQLITE_IOERR_WRITE)
        if not self._disk.check_growth(offset + len(data) - self.xFileSize()):
            raise apsw.FullError("the wished size is used up")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802 - apsw's name
        wishes = self._disk.wishes()
        time.sleep(wishes.get("sync_s", 0))
        super().xSync(flags)
        if wishes.get("fail") == "sync":  # all has arrived, and yet the kernel says that it failed
            raise _io_error(apsw.SQLITE_IOERR_FSYNC)


class BadVfs(apsw.VFS):
    """The disk, as SQLite sees it."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        super().__init__("bad", BELOW, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - apsw's name
        return BadFile(self._disk, BELOW, name, flags)


def _io_error(code: int) -> apsw.IOError:
    error = apsw.IOError("as the test wishes")
    error.extendedresult = code
    return error


def _mount(disk: Disk) -> None:
    """Let the rest of the process see the same disk as SQLite does."""
    statvfs, fallocate = os.statvfs, os.posix_fallocate

    def our_statvfs(path: Any) -> Any:
        free = disk.free_bytes()
        found = statvfs(path)
        if free is None or Path(path) != disk.state:
            return found
        blocks = free // BLOCK_BYTES
        return os.statvfs_result(
            (BLOCK_BYTES, BLOCK_BYTES, found.f_blocks, blocks, blocks, *tuple(found)[5:])
        )

    def our_fallocate(descriptor: int, offset: int, size: int) -> None:
        if not disk.check_growth(offset + size - os.fstat(descriptor).st_size):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fallocate(descriptor, offset, size)

    os.statvfs, os.posix_fallocate = our_statvfs, our_fallocate


def main() -> int:
    """Be the scheduler on such a disk."""
    from remuda.scheduler.__main__ import main as serve

    disk = Disk(Path(os.environ["REMUDA_HOME"]))
    kept = BadVfs(disk)
    _mount(disk)
    code = serve()
    kept.unregister()
    return code


if __name__ == "__main__":
    sys.exit(main())
