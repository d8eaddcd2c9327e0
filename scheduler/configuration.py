"""Which configuration holds, and what follows when somebody changes it?

A change is judged as a whole before anything is touched; what comes of it is one event for the
core, whose turn makes it durable. `commit` is when the rest of the daemon follows.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ..config.applying import NODE, SCHEDULER, InForce, applies, in_force
from ..config.changes import EVERYWHERE, Change, Scoped, to_plain
from ..config.load import Loaded, combined
from ..config.problems import ConfigError
from ..config.schema import UnknownKeyError
from ..config.settings import Settings
from ..config.sources import Read, Sources
from .config_change import By, differences, snapshot
from .config_versions import Difference, Version
from .configured import Wanted
from .core import CoreSettings

ANSWERS_KEPT = 256
VERSION_BYTES_MAX = 2 << 20
"""A version is read as one document, and its changes travel to nodes in one frame."""


class Proposal(NamedTuple):
    """What would hold: a version, what the layers make of it, and what of it holds at once."""

    version: Version
    read: Read
    loaded: Loaded
    now: InForce
    differences: Sequence[Difference]
    notes: Sequence[str] = ()


@dataclass(slots=True)
class Configuration:
    """The layers of the scheduler as they were last read, with what operators changed.

    `loaded` is what was accepted, `running` what the daemon goes by: the difference is in
    `waiting`. `followers` are told of `running` when a change is on disk.
    """

    sources: Sources
    read: Read
    newest: Version
    loaded: Loaded
    core_settings: Callable[[Settings], CoreSettings]
    running: Settings = field(init=False)
    waiting: tuple[str, ...] = ()
    followers: list[Callable[[Settings], None]] = field(default_factory=list)
    answers: OrderedDict[tuple[str, bytes], dict[str, Any]] = field(default_factory=OrderedDict)
    has_news: bool = False

    def __post_init__(self) -> None:
        self.running = self.loaded.settings

    def propose(
        self,
        by: By,
        cause: str,
        changes: Scoped,
        *,
        read: Read | None = None,
        request_key: bytes = b"",
        reloads: int = 0,
        notes: Sequence[str] = (),
    ) -> Proposal:
        """Judge what would hold with these changes, or these layers; raises ConfigError."""
        layers = read or self.read
        loaded = combined(layers, changes.get(EVERYWHERE))
        version = Version(
            by.version,
            by.at_ms,
            by.author,
            cause,
            request_key,
            snapshot(loaded, changes),
            changes,
            (),
            self.newest.reloads + reloads,
            notes,
        )
        found = differences(self.newest, version)
        size = len(_with(version, found).to_row().body)
        if size > VERSION_BYTES_MAX:
            raise ConfigError(
                [f"a version would have {size} bytes, allowed are {VERSION_BYTES_MAX}: shorten it"]
            )
        now = in_force(self.running, loaded.settings, SCHEDULER)
        return Proposal(_with(version, found), layers, loaded, now, found, notes)

    def accept(self, proposal: Proposal) -> tuple[CoreSettings, Wanted]:
        """Take a proposal as what holds; return what the core must go by."""
        self.newest, self.read, self.loaded = proposal.version, proposal.read, proposal.loaded
        self.running, self.waiting = proposal.now.settings, proposal.now.waiting
        self.has_news = True
        return self.core_settings(self.running), wanted(self.newest)

    def commit(self) -> None:
        """Have the rest of the daemon follow: what was accepted is on disk."""
        if self.has_news:
            self.has_news = False
            for follow in self.followers:
                follow(self.running)

    def remember(self, author: str, request_key: bytes, answer: dict[str, Any]) -> None:
        """Keep an answer for a request that is sent again before or after its commit."""
        if request_key:
            self.answers[author, request_key] = answer
            while len(self.answers) > ANSWERS_KEPT:
                self.answers.popitem(last=False)


def _with(version: Version, found: Sequence[Difference]) -> Version:
    return replace(version, differences=found)


def wanted(version: Version) -> Wanted:
    """Return what nodes are to go by as of a version."""
    everywhere = read_by(NODE, version.changes.get(EVERYWHERE, {}))
    narrowed = {
        node: to_plain(changes) for node, changes in version.changes.items() if node != EVERYWHERE
    }
    return Wanted(version.number, version.reloads, to_plain(everywhere), narrowed)


def read_by(daemon: str, changes: Mapping[str, Change]) -> dict[str, Change]:
    """Return those of the changes that a daemon reads.

    Handlers for all are not among them: the scheduler itself declares those.
    """
    found = {}
    for key, change in changes.items():
        try:
            how = applies(key)
            if daemon in how.readers and SCHEDULER not in how.live_in:
                found[key] = change
        except UnknownKeyError:  # of a newer release
            continue
    return found


def _combined_at_start(read: Read, changes: Mapping[str, Change] | None) -> Loaded:
    try:
        return combined(read, changes)
    except ConfigError as error:
        if not changes:
            raise
        combined(read)  # files alone would do: what was changed no longer fits to them
        raise ConfigError(
            [
                f"{problem}; the files and what `config set` changed do not fit together: mend "
                "the files, or start once with --drop-changes"
                for problem in error.problems
            ]
        ) from error


def start(
    sources: Sources,
    newest: Version | None,
    core_settings: Callable[[Settings], CoreSettings],
    now_ms: int,
    *,
    drop_changes: bool = False,
) -> tuple[Configuration, bool]:
    """Take the configuration up where it was left; tell whether this start makes a version.

    It does when files, environment or options say something else than at the last version.
    Raises ConfigError.
    """
    known = newest or Version(0, now_ms, "", "start")
    changes: Scoped = {} if drop_changes else known.changes
    read = sources.read()
    loaded = _combined_at_start(read, changes.get(EVERYWHERE))
    configuration = Configuration(sources, read, known, loaded, core_settings)
    cause = "start without changes" if drop_changes else "start"
    proposal = configuration.propose(By("scheduler", now_ms, known.number + 1), cause, changes)
    is_new = newest is None or bool(proposal.differences)
    if is_new:
        configuration.accept(proposal)
        configuration.has_news = False
    return configuration, is_new
