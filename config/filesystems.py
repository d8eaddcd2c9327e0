"""What kind of file system holds a folder, and which kinds are of no use to a daemon's state?"""

from __future__ import annotations

from pathlib import Path

NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre",
     "beegfs", "gpfs", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs"}
)  # fmt: skip
MEMORY_FILE_SYSTEMS = frozenset({"tmpfs", "ramfs"})


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
