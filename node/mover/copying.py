"""How does a file of the cache come into a task's directory: shared blocks, a copy, or a link?"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from tempfile import TemporaryFile

FICLONE = 0x40049409
COPY_BYTES = 16 << 20
_NO_REFLINK = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS)


def copy(source: Path, target: Path, *, executable: bool) -> None:
    """Make a private, writable copy; it shares its blocks where the file system can."""
    mode = 0o755 if executable else 0o644
    with source.open("rb") as reader:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            _fill(reader.fileno(), descriptor)
        finally:
            os.close(descriptor)


def shares_blocks(folder: Path) -> bool:
    """Tell whether copies below a folder take no room of their own."""
    with TemporaryFile(dir=folder) as reader, TemporaryFile(dir=folder) as writer:
        reader.write(b"x")
        reader.flush()
        return _shares_blocks(reader.fileno(), writer.fileno())


def link(source: Path, target: Path) -> None:
    """Show a file read-only under another name; a copy where it has too many names already."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EMLINK, errno.EXDEV, errno.EPERM):
            raise
        copy(source, target, executable=False)
        target.chmod(0o444)


def _fill(reader: int, writer: int) -> None:
    if _shares_blocks(reader, writer):
        return
    left = os.fstat(reader).st_size
    while left > 0:
        moved = os.copy_file_range(reader, writer, min(left, COPY_BYTES))
        if not moved:  # it was cut meanwhile; sizes are compared by whoever laid it in
            raise OSError(errno.EIO, "a file of the cache was cut while it was copied")
        left -= moved


def _shares_blocks(reader: int, writer: int) -> bool:
    try:
        fcntl.ioctl(writer, FICLONE, reader)
    except OSError as error:
        if error.errno not in _NO_REFLINK:
            raise
        return False
    return True
