"""What of an attempt becomes another user's while it runs, and how is it kept apart from the rest?

Its directory `work` and a file for progress. What lies around them stays the agent's, so that the
user can put nothing else in their place; others may pass through, and see nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .keeper import Keeper
from .spawn import SpawnError

PASSAGE_MODE = 0o711
USER_FILE = "user.json"
_LOCK_FD = 3
"""The runner's own lock: the helper holds it too, so a runner counts as dead only once nothing of
its task is left (see main.py)."""


@contextmanager
def lent(keeper: Keeper | None, work: Path, said: Path) -> Iterator[None]:
    """Let a command's user have its directory and its file of progress; nothing for our own."""
    if keeper is None:
        yield
        return
    try:
        _write_user(Path(), keeper)
        work.parent.chmod(PASSAGE_MODE)
        flags = os.O_CLOEXEC | os.O_NOFOLLOW
        with contextlib.ExitStack() as open_now:
            folder = os.open(work, os.O_RDONLY | os.O_DIRECTORY | flags)
            open_now.callback(os.close, folder)
            file = os.open(said, os.O_RDWR | os.O_CREAT | flags, 0o600)
            open_now.callback(os.close, file)
            keeper.gifts = {"work": folder, "said": file, "lock": _LOCK_FD}
            yield
    except OSError as error:
        text = f"cannot make {work.parent} ready for {keeper.user}: {error.strerror}"
        raise SpawnError("spawn_failed", text) from error


def over() -> None:
    """Take in that nothing of another user's is left in this runner."""
    Path(USER_FILE).unlink(missing_ok=True)


def _write_user(runner: Path, keeper: Keeper) -> None:
    """Say whose processes may be left if we are killed; the next agent reads it."""
    new = runner / f"{USER_FILE}.new"
    new.write_text(json.dumps({"user": keeper.user, "helper": keeper.line.path}))
    new.replace(runner / USER_FILE)
