"""Which directory may hold the journal: ours alone, and on a local disk."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ..protocol.errors import RemudaError

NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre",
     "beegfs", "gpfs", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs"}
)  # fmt: skip


class StateDirError(RemudaError):
    """The state directory cannot be used; the message says why and what to do."""

    code = "state_dir"


def file_system_of(folder: Path, mounts: str | None = None) -> str:
    """Return the type of the file system that holds a folder (`ext4`, `nfs4`, ...), or nothing."""
    text = Path("/proc/self/mounts").read_text("utf-8", "replace") if mounts is None else mounts
    best, kind = "", ""
    for line in text.splitlines():
        fields = line.split(" ")
        point = fields[1].encode("ascii", "replace").decode("unicode_escape")
        inside = folder == Path(point) or Path(point) in folder.parents
        if inside and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind


def claim(folder: Path, mounts: str | None = None) -> int:
    """Make the folder (0700), refuse a network file system, lock it; return the lock's descriptor.

    The lock is held for as long as the descriptor is open. Raises StateDirError.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StateDirError(f"cannot make {folder}: {error.strerror}") from error
    kind = file_system_of(folder.resolve(), mounts)
    if kind in NETWORK_FILE_SYSTEMS:
        raise StateDirError(
            f"{folder} is on a network file system ({kind}), where SQLite loses data: "
            "set [scheduler] state_dir to a local disk"
        )
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise StateDirError(
            f"another scheduler runs on {folder}: stop it first (`remuda down`, or systemctl)"
        ) from error
    return lock
