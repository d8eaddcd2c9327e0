"""May these values be changed so: here, now, and against what is stronger?"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from ..config.applying import CLIENT, NODE, SCHEDULER, STORE, applies
from ..config.changes import EVERYWHERE, Change, layer_of
from ..config.layers import STRENGTH, Layer, Leaves
from ..config.load import typed
from ..config.problems import ConfigError
from ..config.settings_redis import hide_password
from ..config.sources import DEFAULTS_FILE
from ..protocol.configured import NodeConfig
from ..protocol.errors import Invalid, NotFound, Refused
from .access import Role
from .config_change import By, Edit, as_asked, is_stronger
from .config_versions import Difference
from .configuration import Configuration
from .view import View

NAMED_MAX = 5


def check_edits(view: View, configuration: Configuration, edits: Sequence[Edit], by: By) -> None:
    """Raise Refused and its kin for what cannot be changed so; types and bounds come first."""
    for edit in edits:
        if not edit.unset:
            _check_changeable(edit)
            _check_scope(view, edit)
    for node in {edit.node: None for edit in edits if edit.node}:
        _check_types([edit for edit in edits if edit.node == node], by)
    for edit in edits:
        if not edit.unset:
            _check_strength(view, configuration, edit)


def _check_changeable(edit: Edit) -> None:
    how = applies(edit.key)
    if not how.is_changeable:
        who = " and ".join(how.readers)
        reads = f"{who}s read it from files" if how.readers == (CLIENT,) else (
            f"the {who} reads it from files, before it hears of changes"
        )  # fmt: skip
        raise Refused(
            f"{edit.key} cannot be set so: {reads}; write it to $REMUDA_HOME/remuda.toml there",
            field=edit.key,
        )
    if edit.key == "redis.url" and hide_password(str(edit.value)) != edit.value:
        raise Refused(
            "redis.url: a password in it would be kept in the journal and its backups: put it "
            "into a file, and set redis.password_file",
            field=edit.key,
        )


def _check_scope(view: View, edit: Edit) -> None:
    if not edit.node:
        return
    if NODE not in applies(edit.key).readers:
        who = " and ".join(applies(edit.key).readers)
        raise Invalid(
            f"{edit.key} is for the {who}, not for a node: leave --node out", field=edit.key
        )
    known = {*view.core.fleet.nodes, *_admitted(view)}
    if edit.node not in known:
        near = difflib.get_close_matches(edit.node, sorted(known), 1)
        hint = f": did you mean {near[0]}?" if near else ""
        raise NotFound(f"there is no node {edit.node}{hint}", field="node")


def _admitted(view: View) -> list[str]:
    keys = view.registry.keys()
    return [key.name for key in keys if key.role == Role.NODE.value and not key.revoked_ms]


def _check_types(edits: Iterable[Edit], by: By) -> None:
    """Raise ConfigError for values that no node takes; whether they fit together, each judges."""
    packaged = Leaves()
    packaged.add_file(DEFAULTS_FILE, Layer.DEFAULTS)
    changes, _ = layer_of({edit.key: Change(edit.value, *by) for edit in edits if not edit.unset})
    only = Leaves(
        found={path: leaf for path, leaf in changes.found.items() if path[0] != "handlers"}
    )
    try:
        typed(packaged.under(only).found)
    except ConfigError as error:
        raise as_asked(error, by) from error


def _check_strength(view: View, configuration: Configuration, edit: Edit) -> None:
    """Raise Refused where a stronger layer would override the change, and name it."""
    readers = applies(edit.key).readers
    if edit.node:
        node = view.core.fleet.nodes.get(edit.node)
        _check_said(edit.key, f"on {edit.node}", node.config if node else NodeConfig())
    elif readers == (STORE,):
        said = view.store.tuning.said()
        _check_said(edit.key, "on the store", said.config if said else NodeConfig())
    elif SCHEDULER in readers:
        origin = configuration.loaded.origin(edit.key)
        if is_stronger(origin):
            raise _overridden(edit.key, f"is set by {origin}")


def _check_said(key: str, where: str, said: NodeConfig) -> None:
    shown = said.entries.get(key)
    if shown is not None and _outranks(shown.layer):
        raise _overridden(key, f"is set {where} by {shown.origin}")


def _overridden(key: str, by: str) -> Refused:
    return Refused(
        f"{key} {by}, which is stronger than `config set`: change or remove it there", field=key
    )


def _outranks(layer: str) -> bool:
    """Tell whether a layer, by its word, is stronger than changes."""
    return any(each.value == layer and STRENGTH[each] > STRENGTH[Layer.CHANGED] for each in Layer)


def overriding(view: View, found: Iterable[Difference]) -> list[str]:
    """Name those on which a changed value has no effect, since something stronger sets it."""
    notes = []
    said = view.store.tuning.said()
    beside = [("the store", said.config)] if said else []
    for each in found:
        reports = [
            (node.name, node.config)
            for node in view.core.fleet.nodes.values()
            if each.node in (EVERYWHERE, node.name)
        ]
        late = [
            (name, shown.origin)
            for name, config in [*reports, *([] if each.node else beside)]
            if (shown := config.entries.get(each.key)) is not None and _outranks(shown.layer)
        ]
        if late:
            names = ", ".join(name for name, _ in late[:NAMED_MAX])
            more = f" and {len(late) - NAMED_MAX} more" if len(late) > NAMED_MAX else ""
            notes.append(f"{each.key} has no effect on {names}{more}: it is set by {late[0][1]}")
    return notes
