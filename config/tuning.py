"""What does a daemon go by that is told from afar: its own layers, and what operators changed?

A change is judged as a whole and kept on disk before anything follows it, so that a start goes by
it too. What does not fit is refused with the reason, and all stays as it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from ..protocol.configured import NodeConfig, Shown, digest_of
from .applying import applies, in_force
from .changes import Change, from_plain, to_plain
from .home import write_atomically
from .load import Loaded, combined
from .logs import get_logger
from .packaged import packaged
from .problems import ConfigError
from .schema import UnknownKeyError
from .settings import Settings
from .sources import Read, Sources

FILE = "config-changes.json"
FILE_BYTES_MAX = 4 << 20
PROBLEMS_TOLD = 3


@dataclass(frozen=True, slots=True)
class Told:
    """What the scheduler said last: the changes for this daemon as of a version."""

    changes: dict[str, Change] = field(default_factory=dict)
    reloads: int = 0
    version: int = 0

    @property
    def digest(self) -> bytes:
        return digest_of(to_plain(self.changes), self.reloads)


def write_told(path: Path, told: Told) -> None:
    """Write down what is told; raises OSError."""
    plain = {
        "version": told.version,
        "reloads": told.reloads,
        "changes": to_plain(told.changes),
    }
    write_atomically(path, (json.dumps(plain, indent=1) + "\n").encode())


def read_told(path: Path) -> Told:
    """Read what `write_told` wrote; raises OSError and ValueError."""
    try:
        with path.open("rb") as file:
            plain = json.loads(file.read(FILE_BYTES_MAX))
        return Told(from_plain(plain["changes"]), int(plain["reloads"]), int(plain["version"]))
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"it is not what was written: {error}") from error


@dataclass(slots=True)
class Tuning:
    """Keep the settings of a daemon; `running` is what it goes by, `waiting` what needs a restart.

    `refused` is the digest of what it does not take (`why`), `problem` what is wrong with files
    that a signal had it read. `followers` are told of `running`.
    """

    daemon: str
    sources: Sources
    read: Read
    path: Path | None = None
    told: Told = field(default_factory=Told)
    refused: bytes = b""
    why: str = ""
    problem: str = ""
    loaded: Loaded = field(init=False)
    running: Settings = field(init=False)
    waiting: tuple[str, ...] = ()
    followers: list[Callable[[Settings], None]] = field(default_factory=list)
    # Read at the start: a host without descriptors could not read it later.
    _packaged: Mapping[str, str] = field(default_factory=packaged)

    def __post_init__(self) -> None:
        self.loaded = combined(self.read, self.told.changes)
        self.running = self.loaded.settings

    @classmethod
    def begin(cls, daemon: str, sources: Sources, folder: Path) -> Self:
        """Take up what was told before; what does not fit the files any more is refused.

        Raises ConfigError for files that are wrong by themselves.
        """
        path, read = folder / FILE, sources.read()
        told = _kept(path)
        try:
            return cls(daemon, sources, read, path, told)
        except ConfigError as error:
            get_logger().warning("changes of operators do not fit the files", why=_in_short(error))
            return cls(daemon, sources, read, path, Told(), told.digest, _in_short(error))

    @property
    def digest(self) -> bytes:
        """Name what of the scheduler's word this daemon goes by."""
        return self.told.digest

    def hear(self, told: Told) -> None:
        """Take what the scheduler says, or refuse it."""
        if told.digest == self.digest:
            return
        try:
            read = self.sources.read() if told.reloads != self.told.reloads else self.read
            self._take(read, told)
        except ConfigError as error:
            self._refuse(told.digest, _in_short(error))

    def hear_plain(
        self, changes: Mapping[str, Any], reloads: int, version: int, digest: bytes
    ) -> None:
        """Take what came as a document, or refuse it; `digest` is of what was sent."""
        try:
            told = Told(from_plain(changes), reloads, version)
        except ValueError as error:
            self._refuse(digest, str(error))
            return
        if told.digest != digest:
            self._refuse(digest, "it did not arrive as it was sent")
            return
        self.hear(told)

    def reload(self) -> None:
        """Read the files again; what is wrong with them changes nothing."""
        try:
            self._take(self.sources.read(), self.told)
        except ConfigError as error:
            self.problem = _in_short(error)
            get_logger().warning("reload refused: the old configuration stays", why=self.problem)

    def settle(self) -> None:
        """Go by all that was taken: nothing runs yet that would have to start again."""
        self.running, self.waiting = self.loaded.settings, ()

    def _take(self, read: Read, told: Told) -> None:
        """Go by other layers; raises ConfigError and changes nothing then."""
        loaded = combined(read, told.changes)
        try:
            self._keep(told)
        except OSError as error:
            raise ConfigError([f"{self.path}: cannot be kept: {error.strerror}"]) from error
        force = in_force(self.running, loaded.settings, self.daemon)
        if read is not self.read:
            self.problem = ""
        self.read, self.told, self.loaded = read, told, loaded
        self.running, self.waiting = force.settings, force.waiting
        self.refused, self.why = b"", ""
        get_logger().info("configured", version=told.version, waiting=list(force.waiting))
        for follow in self.followers:
            follow(self.running)

    def _refuse(self, digest: bytes, why: str) -> None:
        if digest != self.refused:
            get_logger().warning("configuration refused: the old one stays", why=why)
        self.refused, self.why = digest, why

    def _keep(self, told: Told) -> None:
        if self.path is not None and told != self.told:
            write_told(self.path, told)

    def report(self) -> NodeConfig:
        """Say what this daemon goes by, or will after a restart, where it is not as packaged."""
        entries = {
            entry.key: Shown(entry.text, str(entry.origin), entry.origin.layer.value)
            for entry in self.loaded.entries()
            if entry.text != self._packaged.get(entry.key, "") and self._reads(entry.key)
        }
        return NodeConfig(self.refused, self.why, self.told.version, self.waiting, entries)

    def _reads(self, key: str) -> bool:
        try:
            return self.daemon in applies(key).readers
        except UnknownKeyError:
            return False


def _kept(path: Path) -> Told:
    try:
        return read_told(path)
    except FileNotFoundError:
        return Told()
    except (OSError, ValueError) as error:
        get_logger().warning("changes of operators not read", file=str(path), error=str(error))
        return Told()  # the scheduler tells them again


def _in_short(error: ConfigError) -> str:
    return "; ".join(error.problems[:PROBLEMS_TOLD])
