"""What does a change make of the configuration: edits, differences, the way back?"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..config.applying import applies
from ..config.changes import EVERYWHERE, Change, Scoped, canonical, is_within, values_of
from ..config.layers import STRENGTH, Layer, Origin
from ..config.load import Loaded
from ..config.packaged import packaged, packaged_text
from ..config.problems import ConfigError
from ..config.schema import UnknownKeyError
from ..config.written import written
from ..protocol.errors import NotFound
from .config_versions import RECORDED, Difference, Version


class Edit(NamedTuple):
    """One value to be set, or (`unset`) all changes of a key or a table to be taken back."""

    node: str
    key: str
    value: object = None
    unset: bool = False


class By(NamedTuple):
    """Who changes something, when, and in which version."""

    author: str
    at_ms: int
    version: int


def as_asked(error: ConfigError, by: By) -> ConfigError:
    """Return an error without who set what is wrong with it: that is who asks."""
    mine = f"changed by {by.author} in version {by.version}: "
    return ConfigError([each.removeprefix(mine) for each in error.problems], field=error.field)


def edited(changes: Scoped, edits: Iterable[Edit], by: By) -> dict[str, dict[str, Change]]:
    """Return the changes as edits leave them; raises NotFound where nothing is to be taken back.

    What is set to the value that it has already keeps its author.
    """
    found = {scope: dict(inner) for scope, inner in changes.items()}
    for edit in edits:
        inner = found.setdefault(edit.node, {})
        if not edit.unset:
            known = inner.get(edit.key)
            if known is None or known.value != edit.value:
                inner[edit.key] = Change(edit.value, *by)
            continue
        gone = [key for key in inner if is_within(key, edit.key)]
        if not gone:
            where, option = (f" for {edit.node}", f"--node {edit.node} ") if edit.node else ("", "")
            raise NotFound(
                f"{edit.key}: nobody changed it{where}: `remuda config show {option}{edit.key}` "
                "says where its value comes from",
                field=edit.key,
            )
        for key in gone:
            del inner[key]
    return {scope: inner for scope, inner in found.items() if inner}


def snapshot(loaded: Loaded, changes: Scoped, readers: Sequence[str] = RECORDED) -> dict[str, str]:
    """Return what differs from the packaged values of all that these daemons read, as text.

    What operators changed for every node is among it; what files of this host say of nodes is not.
    """
    defaults, mine = packaged(), changes.get(EVERYWHERE, {})
    return {
        entry.key: entry.text
        for entry in loaded.entries()
        if entry.text != defaults.get(entry.key, "")
        and (entry.key in mine or _is_read_by(readers, entry.key))
    }


def _is_read_by(readers: Sequence[str], key: str) -> bool:
    return not set(readers).isdisjoint(applies(key).readers)


def differences(before: Version | None, after: Version) -> list[Difference]:
    """Say what differs between two versions, for all and node by node."""
    old_values = before.values if before else {}
    old_changes = before.changes if before else {}
    found = [
        Difference(EVERYWHERE, key, _text(old_values, key), _text(after.values, key))
        for key in sorted({*old_values, *after.values})
        if old_values.get(key) != after.values.get(key) and _is_comparable(key, before, after)
    ]
    for node in sorted({*old_changes, *after.changes} - {EVERYWHERE}):
        old, new = old_changes.get(node, {}), after.changes.get(node, {})
        found += [
            Difference(node, key, plain_text(old.get(key)), plain_text(new.get(key)))
            for key in sorted({*old, *new})
            if plain_text(old.get(key)) != plain_text(new.get(key))
        ]
    return found


def _is_comparable(key: str, before: Version | None, after: Version) -> bool:
    """Tell whether both say what a value was: versions of older releases remember less of files."""
    both = [after] if before is None else [before, after]
    if any(key in version.changes.get(EVERYWHERE, {}) for version in both):
        return True
    try:
        return all(_is_read_by(version.readers, key) for version in both)
    except UnknownKeyError:  # of another release
        return True


def _text(values: Mapping[str, str], key: str) -> str | None:
    return values.get(key) or packaged_text(key) or None


def plain_text(change: Change | None) -> str | None:
    """Write a changed value as it would stand in a file."""
    return None if change is None else written("", change.value)


class Back(NamedTuple):
    """The way back: the changes to make it so, and what stays as it is, with the reason."""

    changes: dict[str, dict[str, Change]]
    stays: list[str]


def way_back(target: Version, loaded: Loaded, by: By) -> Back:
    """Return the changes of a version, and with them what files have said otherwise since.

    `loaded` is what today's files make of the changes of that version. A value that a stronger
    layer sets now stays; and so does one that nothing can unset.
    """
    changes = {scope: dict(inner) for scope, inner in target.changes.items()}
    stays = []
    today = snapshot(loaded, target.changes, target.readers)
    for key in sorted({*today, *target.values}):
        wanted = target.values.get(key, packaged_text(key))
        if today.get(key, packaged_text(key)) == wanted:
            continue
        origin = loaded.origin(key)
        if is_stronger(origin):
            stays.append(f"{key} stays: it is set by {origin}")
        elif not wanted or "[redacted]" in wanted or not applies(key).is_changeable:
            stays.append(f"{key} stays: it is set by {origin}; change it there")
        else:
            changes.setdefault(EVERYWHERE, {})[key] = Change(value_of(wanted), *by)
    return Back(changes, stays)


def value_of(text: str) -> Any:
    """Read a value that was written as text; what is no TOML stands as it is."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def is_stronger(origin: Origin) -> bool:
    """Tell whether changes of operators have no effect against this origin."""
    return STRENGTH[origin.layer] > STRENGTH[Layer.CHANGED]


def read_edits(documents: Iterable[Mapping[str, Any]]) -> list[Edit]:
    """Read the edits of a request: a table becomes one edit for each of its values.

    Raises Invalid and its kin.
    """
    found = []
    for document in documents:
        node, key = str(document.get("node", "")), str(document.get("key", ""))
        if "value" in document:
            found += [
                Edit(node, name, value) for name, value in values_of(key, document["value"]).items()
            ]
        else:
            found.append(Edit(node, canonical(key), unset=True))
    return found
