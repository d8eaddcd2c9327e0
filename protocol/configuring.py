"""How the configuration is changed while all runs: asked by operators, told to nodes."""

from __future__ import annotations

from dataclasses import dataclass, field

from .message import Message


@dataclass(slots=True)
class ChangeConfig(Message):
    """Make a new version of the configuration; `verb` is `set`, `reload` or `rollback`.

    `edits` of a `set` are documents: `key`, `node` ("": everywhere) and `value`, which is absent
    where a change is taken back. A `reload` reads the files again, of the scheduler and of every
    node. A `rollback` makes things as they were in version `to` (0: the one before the last).
    With `if_version` it is done only while that is the newest version. `key` is 16 random bytes:
    what is asked again with the same key is not done again. With `dry_run` nothing is done.

    The answer is a document: `version`, `changed` (a list of documents: key, node, before, after,
    effect), `waiting` (keys that wait for a restart of the scheduler) and `notes`.
    """

    TYPE = 43
    SINCE = 5
    key: bytes
    verb: str
    edits: list[dict] = field(default_factory=list)  # type: ignore[type-arg]
    to: int = 0
    if_version: int = 0
    dry_run: bool = False


@dataclass(slots=True)
class ListConfigVersions(Message):
    """List the accepted versions, newest first: a page of documents."""

    TYPE = 44
    SINCE = 5
    limit: int = 100
    cursor: str = ""


@dataclass(slots=True)
class CompareConfig(Message):
    """Ask what differs between two configurations: numbers of versions, `running` or `file`."""

    TYPE = 45
    SINCE = 5
    before: str
    after: str


@dataclass(slots=True)
class ConfigState(Message):
    """Ask which version holds, what waits for a restart, and which nodes are behind.

    The answer is a document: `version`, `author`, `at_ms`, `profile`, `waiting`, `nodes` (how
    many), `behind` (documents of nodes that do not run with it: name, state, why), `store` (the
    same of the store, with its `version` and what `waiting` there; empty where there is none).
    """

    TYPE = 46
    SINCE = 5


@dataclass(slots=True)
class Configure(Message):
    """What operators changed for this node (see `changes.to_plain`), whole, as of a version.

    The node says `digest` in its heartbeats once it goes by it, or why it does not. With a
    `reloads` that it has not heard it reads its own files again.
    """

    TYPE = 107
    SINCE = 5
    incarnation: bytes
    version: int
    digest: bytes
    reloads: int
    changes: dict  # type: ignore[type-arg]
