"""Which directory may hold the state of a daemon: ours alone, and on a local disk."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from ..protocol.errors import RemudaError
from .filesystems import NETWORK_FILE_SYSTEMS, file_system_of

# Who only looks whether a daemon runs (`is_claimed`) has the lock for a moment too.
TRIES, PAUSE_S = 5, 0.02


class StateDirError(RemudaError):
    """The state directory cannot be used; the message says why and what to do."""

    code = "state_dir"


def claim(folder: Path, daemon: str, mounts: str | None = None) -> int:
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
            f"set [{daemon}] state_dir to a local disk"
        )
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for _ in range(TRIES):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(PAUSE_S)
        else:
            return lock
    os.close(lock)
    raise StateDirError(
        f"another {daemon} runs on {folder}: stop it first (`remuda down`, or systemctl)"
    )


def is_claimed(folder: Path) -> bool:
    """Tell whether a daemon runs on a folder; changes nothing there."""
    try:
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
