"""A cgroup of the runner's own, where systemd delegated the subtree to us; else nothing."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_MOUNT = Path("/sys/fs/cgroup")
_PREFIX = "remuda-runner-"


def enter(name: str, *, mount: Path = _MOUNT, membership: str | None = None) -> str:
    """Create a cgroup and move this process into it; return its path, "" where not delegated.

    Entered once, before any child exists: a process moved after its start may have forked already.
    """
    own = _own(mount, membership)
    if own is None or not _delegated(own, mount):
        return ""
    path = own / (_PREFIX + name)
    try:
        path.mkdir()
        (path / "cgroup.procs").write_text(str(os.getpid()))
    except OSError:  # the delegation does not reach this far: degrade
        with contextlib.suppress(OSError):
            path.rmdir()
        return ""
    return str(path)


def leave(path: str) -> None:
    """Move this process back to the parent and remove its cgroup."""
    if not path:
        return
    with contextlib.suppress(OSError):  # an empty directory left behind harms nobody
        (Path(path).parent / "cgroup.procs").write_text(str(os.getpid()))
        Path(path).rmdir()


def kill(path: str) -> bool:
    """Kill everything in a dead runner's cgroup; say whether the kernel took the order."""
    try:
        (Path(path) / "cgroup.kill").write_text("1")
    except OSError:  # no such cgroup any more, or a kernel before 5.14
        return False
    return True


def _own(mount: Path, membership: str | None) -> Path | None:
    if not (mount / "cgroup.controllers").exists():
        return None
    text = Path("/proc/self/cgroup").read_text() if membership is None else membership
    for line in text.splitlines():
        if line.startswith("0::"):
            return mount / line[3:].lstrip("/")
    return None


def _delegated(own: Path, mount: Path) -> bool:
    for folder in [own, *own.parents]:
        if folder == mount:
            return False
        try:
            if os.getxattr(folder, "user.delegate") == b"1":
                return True
        except OSError:  # no such mark here: an ancestor may carry it
            continue
    return False
