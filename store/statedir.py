"""Is the folder of the store ours alone?"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ..config.home import make_private_directory
from ..protocol.errors import RemudaError


class StateDirError(RemudaError):
    """The folder cannot be used; the message says why and what to do."""

    code = "state_dir"


def claim(folder: Path) -> int:
    """Make the folder, lock it and return the descriptor that holds the lock for life."""
    make_private_directory(folder)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise StateDirError(
            f"another store runs on {folder}: stop it first (`remuda down`, or systemctl)"
        ) from error
    return lock
