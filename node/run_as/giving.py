"""How does a task's directory become its user's, and the agent's again when the task is gone?

Nothing is done by a path that somebody else could change meanwhile: folders are entered one by one
without following links, and what is found is looked at through the descriptor that is then used.
Given from the bottom up, the user comes in only when all is done; taken from the top down, the user
is out before anything below is looked at. Only files, folders and pipes change hands, and only
those that belong to whoever is to lose them.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from .allowed import Denied

FOLDER_MODE = 0o700
SAID_MODE = 0o640
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_ANY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Ids(NamedTuple):
    """Whose something is, or shall be."""

    uid: int
    gid: int


@dataclass(slots=True)
class _Level:
    """A folder on the way down: what is still to be looked at in it, and which folder it is."""

    status: os.stat_result
    names: list[str]


def give(folder: int, owner: Ids, user: Ids) -> None:
    """Make a tree of the agent's the user's; raises Denied for what is not the agent's alone."""
    check_folder(folder, owner)

    def on_file(status: os.stat_result, descriptor: int) -> None:
        if status.st_uid != owner.uid or status.st_nlink != 1:
            raise Denied("a file of the directory is not the agent's, or has other names")
        _chown(descriptor, user)

    def on_entered(status: os.stat_result, descriptor: int) -> None:
        if status.st_uid != owner.uid:
            raise Denied("a folder of the directory is not the agent's")

    _Walk(on_file, on_entered, on_left=lambda folder: os.fchown(folder, *user)).run(folder)


def take(folder: int, user: Ids, owner: Ids) -> None:
    """Make what the user has in a tree the agent's, closed to others; the rest stays as it is."""

    def on_file(status: os.stat_result, descriptor: int) -> None:
        if status.st_uid == user.uid:
            _chown(descriptor, owner)

    def on_entered(status: os.stat_result, descriptor: int) -> None:
        if status.st_uid == user.uid:
            os.fchown(descriptor, *owner)
            os.fchmod(descriptor, FOLDER_MODE)

    _Walk(on_file, on_entered).run(folder)


def give_said(descriptor: int, owner: Ids, user: Ids) -> None:
    """Let the user write a file that the agent goes on reading; raises Denied."""
    status = os.fstat(descriptor)
    is_own = stat.S_ISREG(status.st_mode) and status.st_uid == owner.uid and status.st_nlink == 1
    if not is_own:
        raise Denied("the file of progress is not the agent's alone")
    os.fchown(descriptor, user.uid, owner.gid)
    os.fchmod(descriptor, SAID_MODE)


def give_pipe(descriptor: int, owner: Ids, user: Ids) -> None:
    """Let the user open a pipe of the agent's by its name, /dev/stdout, as whoever made it can."""
    status = os.fstat(descriptor)
    if stat.S_ISFIFO(status.st_mode) and status.st_uid == owner.uid:
        with contextlib.suppress(OSError):
            os.fchown(descriptor, *user)


def check_folder(folder: int, owner: Ids) -> None:
    """Raise Denied for what is no folder of the agent's."""
    status = os.fstat(folder)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != owner.uid:
        raise Denied("the task's directory is not the agent's")


def _chown(descriptor: int, to: Ids) -> None:
    """Change the owner of what a descriptor was opened for by name alone (O_PATH)."""
    os.chown(f"/proc/self/fd/{descriptor}", *to)


_On = Callable[[os.stat_result, int], None]


@dataclass(slots=True)
class _Walk:
    """One way through a tree; however deep it is, two folders are open at a time."""

    on_file: _On
    on_entered: _On
    on_left: Callable[[int], None] = lambda _folder: None
    levels: list[_Level] = field(default_factory=list)

    def run(self, folder: int) -> None:
        # Opened anew: the one that came may have been opened by name alone, or be read elsewhere.
        here = os.open(".", _OPEN_FOLDER, dir_fd=folder)
        try:
            self._enter(here)
            while self.levels:
                level = self.levels[-1]
                if level.names:
                    next_ = self._look_at(here, level.names.pop())
                else:
                    self.on_left(here)
                    self.levels.pop()
                    next_ = os.open("..", _OPEN_FOLDER, dir_fd=here) if self.levels else -1
                if next_ < 0:
                    continue
                os.close(here)
                here = next_
                if self.levels[-1] is level:  # down
                    self._enter(here)
                else:
                    self._check_back(here)
        finally:
            os.close(here)

    def _enter(self, folder: int) -> None:
        status = os.fstat(folder)
        self.on_entered(status, folder)
        self.levels.append(_Level(status, os.listdir(folder)))

    def _look_at(self, here: int, name: str) -> int:
        """Deal with one entry; return the folder to go down into, -1 for none."""
        try:
            found = os.open(name, _OPEN_ANY, dir_fd=here)
        except FileNotFoundError:  # a user who has it open still removes from it
            return -1
        try:
            status = os.fstat(found)
            if stat.S_ISREG(status.st_mode):
                self.on_file(status, found)
            is_folder = stat.S_ISDIR(status.st_mode)
            return os.open(".", _OPEN_FOLDER, dir_fd=found) if is_folder else -1
        finally:
            os.close(found)

    def _check_back(self, here: int) -> None:
        """Make sure that the folder above is the one that we came from."""
        expected, found = self.levels[-1].status, os.fstat(here)
        if (found.st_dev, found.st_ino) != (expected.st_dev, expected.st_ino):
            raise Denied("a folder was moved while it changed hands")
