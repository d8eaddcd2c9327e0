"""What does this node go by: its own layers, and between them what operators changed from afar?

A change is judged as a whole and kept on disk before anything follows it, so that a start goes by
it too. What does not fit is refused with the reason, and all stays as it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config.applying import NODE, applies, in_force
from ..config.changes import Change, from_plain, to_plain
from ..config.home import write_atomically
from ..config.load import Loaded, combined
from ..config.logs import get_logger
from ..config.packaged import packaged
from ..config.problems import ConfigError
from ..config.schema import UnknownKeyError
from ..config.settings import Settings
from ..config.sources import Read, Sources
from ..protocol.configured import NodeConfig, Shown, digest_of, to_document
from ..protocol.messages import Configure

FILE = "config-changes.json"
FILE_BYTES_MAX = 4 << 20
FULL_EVERY = 15
# PUB drops what leaves before the subscription has arrived: what is new is said in several beats.
SAY_NEW_TIMES = 4
PROBLEMS_TOLD = 3


@dataclass(frozen=True, slots=True)
class Told:
    """What the scheduler said last: the changes for this node as of a version."""

    changes: dict[str, Change] = field(default_factory=dict)
    reloads: int = 0
    version: int = 0

    @property
    def digest(self) -> bytes:
        return digest_of(to_plain(self.changes), self.reloads)


@dataclass(slots=True)
class Tuning:
    """Keep the settings of a node; `running` is what it goes by, `waiting` what needs a restart.

    `refused` is the digest of what it does not take. `followers` are told of `running`.
    """

    sources: Sources
    read: Read
    path: Path | None = None
    told: Told = field(default_factory=Told)
    refused: bytes = b""
    why: str = ""
    loaded: Loaded = field(init=False)
    running: Settings = field(init=False)
    waiting: tuple[str, ...] = ()
    followers: list[Callable[[Settings], None]] = field(default_factory=list)
    # Read at the start: a host without descriptors could not read it later.
    _packaged: Mapping[str, str] = field(default_factory=packaged)
    _said: int = 0
    _since: int = 0

    def __post_init__(self) -> None:
        self.loaded = combined(self.read, self.told.changes)
        self.running = self.loaded.settings

    @property
    def digest(self) -> bytes:
        """Name what of the scheduler's word this node goes by."""
        return self.told.digest

    def on_configure(self, message: Configure) -> None:
        """Take what the scheduler says, or refuse it; the next heartbeats tell."""
        self._said = 0
        try:
            told = Told(from_plain(message.changes), message.reloads, message.version)
        except ValueError as error:
            self._refuse(message.digest, str(error))
            return
        if told.digest != message.digest:
            self._refuse(message.digest, "it did not arrive as it was sent")
            return
        if told.digest == self.digest:
            return
        try:
            read = self.sources.read() if told.reloads != self.told.reloads else self.read
            self._take(read, told)
        except ConfigError as error:
            self._refuse(told.digest, _in_short(error))

    def on_signal(self) -> None:
        """Read the files again; what is wrong with them changes nothing."""
        self._said = 0
        try:
            self._take(self.sources.read(), self.told)
        except ConfigError as error:
            get_logger().warning(
                "reload refused: the old configuration stays", why=_in_short(error)
            )

    def _take(self, read: Read, told: Told) -> None:
        """Go by other layers; raises ConfigError and changes nothing then."""
        loaded = combined(read, told.changes)
        try:
            self._keep(told)
        except OSError as error:
            raise ConfigError([f"{self.path}: cannot be kept: {error.strerror}"]) from error
        force = in_force(self.running, loaded.settings, NODE)
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
        if self.path is None or told == self.told:
            return
        plain = {
            "version": told.version,
            "reloads": told.reloads,
            "changes": to_plain(told.changes),
        }
        write_atomically(self.path, (json.dumps(plain, indent=1) + "\n").encode())

    def document_due(self) -> dict[str, Any]:
        """Return the report for a heartbeat: empty unless rather new, or every 15th time."""
        self._since += 1
        if self._said >= SAY_NEW_TIMES and self._since < FULL_EVERY:
            return {}
        self._since = 0
        self._said = min(self._said + 1, SAY_NEW_TIMES)
        return to_document(self.report())

    def forget(self) -> None:
        """Say everything again at the next heartbeats."""
        self._said = 0

    def report(self) -> NodeConfig:
        """Say what this node goes by, or will after a restart, where it is not as packaged."""
        entries = {
            entry.key: Shown(entry.text, str(entry.origin), entry.origin.layer.value)
            for entry in self.loaded.entries()
            if entry.text != self._packaged.get(entry.key, "") and _is_a_nodes(entry.key)
        }
        return NodeConfig(self.refused, self.why, self.told.version, self.waiting, entries)


def begin(sources: Sources, node_dir: Path) -> Tuning:
    """Take up what an earlier agent was told; what does not fit its files any more is refused.

    Raises ConfigError for files that are wrong by themselves.
    """
    path, read = node_dir / FILE, sources.read()
    told = _kept(path)
    try:
        return Tuning(sources, read, path, told)
    except ConfigError as error:
        get_logger().warning("changes of operators do not fit the files", why=_in_short(error))
        return Tuning(sources, read, path, Told(), told.digest, _in_short(error))


def _kept(path: Path) -> Told:
    try:
        with path.open("rb") as file:
            plain = json.loads(file.read(FILE_BYTES_MAX))
        return Told(from_plain(plain["changes"]), int(plain["reloads"]), int(plain["version"]))
    except FileNotFoundError:
        return Told()
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        get_logger().warning("changes of operators not read", file=str(path), error=str(error))
        return Told()  # the scheduler tells them again


def _in_short(error: ConfigError) -> str:
    return "; ".join(error.problems[:PROBLEMS_TOLD])


def _is_a_nodes(key: str) -> bool:
    try:
        return NODE in applies(key).readers
    except UnknownKeyError:
        return False
