"""What did operators change with `config set`, for everybody or for one node?

Changes are a layer of their own. Each is kept as the dotted key of one value and what a file would
hold there, so that it is read and checked as if it stood in a file.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..protocol.errors import Invalid
from .layers import Layer, Leaves, Origin
from .problems import ConfigError
from .schema import UnknownKeyError, dotted, field_at, split_key

EVERYWHERE = ""
"""The scope of a change that is for no node alone."""
CHANGES_MAX = 1_000
VALUE_CHARS_MAX = 8_192
_GIVEN = Origin(Layer.CHANGED, name="here")


@dataclass(frozen=True, slots=True)
class Change:
    """A value that somebody set: by whom, when, and in which version."""

    value: object
    author: str = ""
    at_ms: int = 0
    version: int = 0

    @property
    def source(self) -> str:
        """Say who changed it, for the origin of the value."""
        return f"by {self.author} in version {self.version}"


Scoped = Mapping[str, Mapping[str, Change]]
"""Changes by key, by scope: everywhere, or the name of a node."""


def values_of(key: str, given: object) -> dict[str, Any]:
    """Read what was given for a key: one value by its own key, several for a table.

    Raises ConfigError for an unknown key, Invalid for what cannot be kept.
    """
    leaves = Leaves()
    leaves.add_values({key: (_unquoted(given), _GIVEN)})
    if leaves.problems:
        told = [problem.removeprefix(f"{_GIVEN}: ") for problem in leaves.problems]
        raise ConfigError(told, field=key)
    if not leaves.found or any(leaf.empty_table for leaf in leaves.found.values()):
        raise Invalid(
            f"{key}: an empty table changes nothing: take changes back with "
            f"`remuda config unset {key}`",
            field=key,
        )
    found = {dotted(path): leaf.value for path, leaf in leaves.found.items()}
    for name, value in found.items():
        try:
            length = len(json.dumps(value))
        except TypeError as error:
            raise Invalid(
                f"{name}: found a {type(value).__name__}, which no key takes", field=name
            ) from error
        if length > VALUE_CHARS_MAX:
            raise Invalid(
                f"{name}: found {length} characters, allowed are {VALUE_CHARS_MAX}", field=name
            )
    return found


def _unquoted(given: object) -> object:
    """Read a text that is quoted as in a file; any other stands as it is."""
    if not isinstance(given, str) or len(given) < 2 or given[0] != given[-1] or given[0] != '"':
        return given
    try:
        return tomllib.loads(f"value = {given}")["value"]
    except tomllib.TOMLDecodeError:
        return given


def canonical(key: str) -> str:
    """Return the one way to write a key; raises ConfigError for one that there is not."""
    try:
        return dotted(field_at(split_key(key))[0])
    except UnknownKeyError as error:
        raise ConfigError([f"unknown key {key}: {error.args[0]}"], field=key) from error


def is_within(key: str, table: str) -> bool:
    """Tell whether a dotted key is a table's, or the same."""
    return key == table or key.startswith(f"{table}.")


def layer_of(changes: Mapping[str, Change]) -> tuple[Leaves, list[str]]:
    """Make a layer of changes; return with it the keys that this release does not know.

    They were set by a newer one, which may come back.
    """
    leaves = Leaves()
    unknown = []
    for key, change in changes.items():
        try:
            field_at(split_key(key))
        except UnknownKeyError:
            unknown.append(key)
            continue
        origin = Origin(Layer.CHANGED, name=change.source)
        leaves.add_values({key: (change.value, origin)})
    return leaves, unknown


def seen_by(changes: Scoped, node: str) -> dict[str, Change]:
    """Return the changes that a node sees: its own before those for everybody."""
    return {**changes.get(EVERYWHERE, {}), **changes.get(node, {})}


def count(changes: Scoped) -> int:
    return sum(map(len, changes.values()))


def to_plain(changes: Mapping[str, Change]) -> dict[str, list[Any]]:
    """Write changes as a document."""
    return {
        key: [each.value, each.author, each.at_ms, each.version] for key, each in changes.items()
    }


def from_plain(document: Mapping[str, Any]) -> dict[str, Change]:
    """Read what `to_plain` wrote; raises ValueError for anything else."""
    found = {}
    for key, row in document.items():
        if type(row) is not list or len(row) != 4:
            raise ValueError(f"{key}: a change has a value, an author, a time and a version")
        value, author, at_ms, version = row
        if type(author) is not str or type(at_ms) is not int or type(version) is not int:
            raise ValueError(f"{key}: a change has a value, an author, a time and a version")
        found[str(key)] = Change(value, author, at_ms, version)
    return found
