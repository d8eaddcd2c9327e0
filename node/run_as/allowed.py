"""As which users may anything be started, and who may ask: a file that only root can change.

agent = "remuda"
users = ["alice", "ml-bob"]
groups = ["video", "render"]      # of the system's groups (below 1000) those that users keep
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path("/etc/remuda-run-as.toml")
FILE_BYTES_MAX = 64 << 10
ID_MIN = 1000
"""Below are the system's own users and groups: nothing is started as one of them, whatever is
asked and whatever the file says."""
NOBODY = 65_534
NAMES_MAX = 1_000
NAME_CHARS_MAX = 64


class Denied(Exception):  # noqa: N818 - an outcome
    """What was asked for is not allowed; the text says why."""


@dataclass(frozen=True, slots=True)
class User:
    """One that tasks may be started as."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the file allows."""

    agent: str
    users: tuple[str, ...]
    groups: tuple[str, ...] = ()

    def may_ask(self, uid: int) -> bool:
        """Tell whether a process of this user may ask."""
        try:
            return uid == pwd.getpwnam(self.agent).pw_uid
        except KeyError:
            return False

    def user(self, name: str) -> User:
        """Return a user that tasks may be started as; raises Denied."""
        if name not in self.users:
            raise Denied(f"user {name!r} is not among the `users` of the helper's file")
        try:
            found = pwd.getpwnam(name)
        except (KeyError, ValueError):
            raise Denied(f"there is no user {name!r} on this host") from None
        if self.may_ask(found.pw_uid):
            raise Denied(f"user {name!r} is the agent's own")
        for what, number in (("user", found.pw_uid), ("group", found.pw_gid)):
            if number < ID_MIN or number == NOBODY:
                raise Denied(
                    f"{name!r} has {what} id {number}: nothing is started with one below {ID_MIN}, "
                    f"nor with {NOBODY}"
                )
        groups = self._groups(name, found.pw_gid)
        return User(name, found.pw_uid, found.pw_gid, groups, found.pw_dir, found.pw_shell)

    def _groups(self, name: str, gid: int) -> tuple[int, ...]:
        kept = {_group(each) for each in self.groups}
        found = os.getgrouplist(name, gid)
        return tuple(sorted(each for each in found if each >= ID_MIN or each in kept))


def read(path: Path = FILE) -> Allowed:
    """Read the file; raises Denied unless it is root's alone and says what it must."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise Denied(f"{path} is no file")
            if status.st_uid != 0 or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise Denied(f"{path} can be changed by others than root: chown root, chmod 644")
            return parse(file.read(FILE_BYTES_MAX + 1))
    except OSError as error:
        raise Denied(f"{path} cannot be read: {error.strerror}") from error


def parse(text: bytes) -> Allowed:
    """Read what the file says; raises Denied."""
    if len(text) > FILE_BYTES_MAX:
        raise Denied(f"the helper's file has more than {FILE_BYTES_MAX} bytes")
    try:
        found = tomllib.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise Denied(f"the helper's file is no TOML: {error}") from error
    if unknown := sorted(found.keys() - {"agent", "users", "groups"}):
        raise Denied(f"the helper's file has {unknown[0]!r}: only agent, users and groups")
    (agent,) = _names(found, "agent", [found.get("agent")])
    users, groups = _names(found, "users", found.get("users")), found.get("groups", [])
    return Allowed(agent, users, _names(found, "groups", groups))


def _names(found: dict[str, Any], key: str, value: object) -> tuple[str, ...]:
    if isinstance(value, list) and len(value) <= NAMES_MAX and all(map(_is_name, value)):
        return tuple(value)
    raise Denied(f"the helper's file: {key} = {found.get(key)!r}, wanted names")


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= NAME_CHARS_MAX and "\0" not in value


def _group(name: str) -> int:
    """Return the number of a group that users keep; raises Denied for root's."""
    try:
        number = grp.getgrnam(name).gr_gid
    except KeyError:
        return -1  # users cannot have it either
    if number == 0:
        raise Denied(f"group {name!r} is root's: nothing is started with it")
    return number
