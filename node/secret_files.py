"""Which secrets does this node have, and what are they now: read anew for each task."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..config.logs import get_logger
from ..config.settings_environments import SecretSettings
from .interpreters import NotOffered

VALUE_BYTES_MAX = 64 * 1024
LOOK_EVERY_NS = 5_000_000_000

Stamp = tuple[int, int, int]


@dataclass(slots=True)
class SecretFiles:
    """Read secrets when a task starts; nothing of a value stays here.

    `offered` are the names of those that can be read, `problems` say of the others why not.
    """

    settings: Mapping[str, SecretSettings]
    credentials: Path | None = None
    offered: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    _due_ns: int = 0

    def look_if_due(self, now: int) -> bool:
        """Look when it is time; return whether something changed."""
        if now < self._due_ns:
            return False
        self._due_ns = now + LOOK_EVERY_NS
        before = self.offered, self.problems
        offered, problems = [], []
        for name in self.settings:
            try:
                self._read(name)
            except NotOffered as error:
                problems.append(str(error))
            else:
                offered.append(name)
        for problem in set(problems) - set(self.problems):
            get_logger().warning("a secret is not offered", problem=problem)
        self.offered, self.problems = tuple(offered), tuple(problems)
        return before != (self.offered, self.problems)

    def variables(self, wanted: Iterable[str]) -> dict[str, str]:
        """Return the variables for `NAME` or `NAME=VARIABLE`; raises NotOffered."""
        found = {}
        for text in wanted:
            name, _, variable = text.partition("=")
            found[variable or name] = self._read(name)[0]
        return found

    def stamps(self, wanted: Iterable[str]) -> tuple[Stamp, ...]:
        """Return what changes with the files; raises NotOffered."""
        return tuple(self._read(text.partition("=")[0])[1] for text in wanted)

    def _read(self, name: str) -> tuple[str, Stamp]:
        path = self._path(name)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                status = os.fstat(descriptor)
                data = os.read(descriptor, VALUE_BYTES_MAX + 1)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _broken(name, path, error.strerror or "cannot be read") from error
        if not stat.S_ISREG(status.st_mode):
            raise _broken(name, path, "is no file")
        mode = stat.S_IMODE(status.st_mode)
        if mode & (stat.S_IROTH | stat.S_IWOTH):
            raise _broken(name, path, f"others may read or change it (mode {mode:04o}): chmod 600")
        if len(data) > VALUE_BYTES_MAX:
            raise _broken(name, path, f"is longer than {VALUE_BYTES_MAX} bytes")
        try:
            value = data.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise _broken(name, path, "is not UTF-8 text") from None  # it holds the value
        if not value or "\0" in value:
            raise _broken(name, path, "is empty" if not value else "holds a zero byte")
        return value, (status.st_mtime_ns, status.st_ino, status.st_size)

    def _path(self, name: str) -> Path:
        settings = self.settings.get(name)
        if settings is None:
            known = ", ".join(self.offered) or "none"
            raise NotOffered(f"this node has no secret {name!r} (known: {known})")
        if settings.file is not None:
            return settings.file
        assert settings.credential is not None
        if self.credentials is None:
            raise NotOffered(
                f"secret {name!r} is not offered: the agent was given no credentials "
                f"(LoadCredential={settings.credential}:... in its unit)"
            )
        return self.credentials / settings.credential


def _broken(name: str, path: Path, why: str) -> NotOffered:
    return NotOffered(f"secret {name!r} is not offered: {path}: {why}")
