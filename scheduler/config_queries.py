"""What is told of the configuration: values with their origins, versions, who goes by what."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from ..config.applying import NODE, SCHEDULER, STORE, applies
from ..config.changes import is_within
from ..config.load import Loaded, combined
from ..config.packaged import packaged, packaged_text
from ..config.problems import ConfigError
from ..protocol import messages as m
from ..protocol.configured import NodeConfig
from ..protocol.errors import Conflict, Invalid, NotFound
from . import configured
from .access import Principal
from .config_change import snapshot, value_of
from .config_verbs import compared, find_version
from .config_versions import RECORDED, Version
from .configuration import Configuration
from .core import Core
from .events import Now
from .fleet import Node
from .view import View

BEHIND_MAX = 200
PAGE_MAX = 500
NEWEST = 1 << 62
"""Above every version that there is."""
FILE, RUNNING = "file", "running"
HIDDEN = "[not shown to viewers]"
_PRIVATE_KEYS = ("tasks.env",)
_NUMBER = re.compile(r"[0-9]{1,15}")


def show_config(view: View, message: m.ShowConfig, principal: Principal, _now: Now) -> m.Document:
    if message.key:
        view.loaded.get(message.key)  # raises NotFound with the keys there are
    if message.node:
        return _of_node(view, message, principal)
    configuration = view.configuration
    waiting = configuration.waiting if configuration else ()
    running = _texts(configuration) if waiting else {}
    said = view.store.tuning.said()
    entries = []
    for entry in view.loaded.entries():
        if message.key and not is_within(entry.key, message.key):
            continue
        if said is not None and applies(entry.key).readers == (STORE,):
            entries.append(_shown(_said_row(entry.key, said.config, STORE), principal))
            continue
        row = {
            "key": entry.key,
            "value": _plain(entry.value),
            "written": entry.text,
            "origin": str(entry.origin),
            "layer": entry.origin.layer.value,
        }
        if any(is_within(entry.key, unit) for unit in waiting):
            row["running"] = running.get(entry.key, "")
            row["restart"] = SCHEDULER
        entries.append(_shown(row, principal))
    version = configuration.newest.number if configuration else 0
    body = {"entries": entries, "version": version, "profile": view.loaded.profile}
    return m.Document({**body, "store": store_state(view)})


def _texts(configuration: Configuration | None) -> dict[str, str]:
    assert configuration is not None
    found = dataclasses.replace(configuration.loaded, settings=configuration.running)
    return {entry.key: entry.text for entry in found.entries()}


def _of_node(view: View, message: m.ShowConfig, principal: Principal) -> m.Document:
    """Tell what a node says that it goes by; what it does not name has its packaged value."""
    node = view.core.fleet.nodes.get(message.node)
    if node is None:
        raise NotFound(f"there is no node {message.node}", field="node")
    state = configured.state_of(view.core, node)
    if not node.config.is_said:
        raise Conflict(
            f"{node.name} has not said what it goes by: {state.why or 'it was not heard yet'}",
            field="node",
        )
    said = node.config.entries
    keys = [key for key in packaged() if NODE in applies(key).readers]
    entries = [
        _shown(_said_row(key, node.config, NODE), principal)
        for key in [*keys, *(key for key in said if key not in packaged())]
        if not message.key or is_within(key, message.key)
    ]
    return m.Document(
        {
            "entries": entries,
            "version": node.config.version,
            "node": node.name,
            "state": state.word,
            "why": state.why,
        }
    )


def _said_row(key: str, said: NodeConfig, daemon: str) -> dict[str, Any]:
    """Write a value that a daemon itself says it goes by; what it does not name is as packaged."""
    shown = said.entries.get(key)
    text = shown.text if shown else packaged_text(key)
    row: dict[str, Any] = {
        "key": key,
        "value": value_of(text) if text else None,
        "written": text,
        "origin": shown.origin if shown else "defaults",
        "layer": shown.layer if shown else "defaults",
    }
    if any(is_within(key, unit) for unit in said.waiting):
        row["restart"] = daemon
    return row


def store_state(view: View) -> dict[str, Any]:
    """Tell how the store stands to the newest version; nothing where none ever ran or is missed."""
    tuning = view.store.tuning
    said = tuning.said()
    state = tuning.state(said)
    if said is None and state.word != "cannot" and not tuning.is_missed:
        return {}
    config = said.config if said else NodeConfig()
    return {
        "state": state.word,
        "why": state.why,
        "version": config.version,
        "waiting": list(config.waiting),
    }


def node_state(core: Core, node: Node) -> dict[str, Any]:
    """Tell how a node stands to the newest version, and what there waits for a restart."""
    state = configured.state_of(core, node)
    return {
        "state": state.word,
        "why": state.why,
        "version": node.config.version,
        "waiting": list(node.config.waiting),
    }


def _shown(row: dict[str, Any], principal: Principal) -> dict[str, Any]:
    if principal.sees_payloads or not _is_private(str(row["key"])):
        return row
    hidden: dict[str, Any] = {name: HIDDEN for name in ("value", "running") if name in row}
    return {**row, **hidden, "written": ""}


def _is_private(key: str) -> bool:
    return any(is_within(key, private) for private in _PRIVATE_KEYS)


def _plain(value: object) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else repr(value)


def list_versions(
    view: View, message: m.ListConfigVersions, principal: Principal, _now: Now
) -> m.Page:
    """List accepted versions with what each changed, newest first."""
    versions = view.config_versions
    if versions is None or view.configuration is None:
        return m.Page([], 0)
    if not 1 <= message.limit <= PAGE_MAX:
        raise Invalid(f"limit: found {message.limit}, allowed are 1 to {PAGE_MAX}", field="limit")
    if message.cursor and not _NUMBER.fullmatch(message.cursor):
        raise Invalid(
            f"cursor: found {message.cursor[:64]!r}, which no page ended with: begin without it",
            field="cursor",
        )
    below = int(message.cursor or NEWEST)
    found = versions.page(below, message.limit)
    rows = [
        {
            "version": each.number,
            "at_ms": each.at_ms,
            "author": each.author,
            "cause": each.cause,
            "changed": _private([one._asdict() for one in each.differences], principal),
            "notes": list(each.notes),
        }
        for each in found
    ]
    more = str(found[-1].number) if len(found) == message.limit else ""
    return m.Page(rows, versions.count(), more)


def compare(view: View, message: m.CompareConfig, principal: Principal, _now: Now) -> m.Document:
    """Tell what differs; `file` is what a reload would make of the files as they are now."""
    configuration = view.configuration
    assert configuration is not None
    before = _named(view, configuration, message.before, "before")
    after = _named(view, configuration, message.after, "after")
    changed = _private(compared(before, after), principal)
    return m.Document({"before": message.before, "after": message.after, "changed": changed})


def _named(view: View, configuration: Configuration, word: str, field: str) -> Version:
    newest = configuration.newest
    if word == RUNNING:
        found = dataclasses.replace(configuration.loaded, settings=configuration.running)
        return _as_version(newest, found)
    if word == FILE:
        try:
            loaded = combined(configuration.sources.read(), newest.changes.get(""))
        except ConfigError as error:
            raise Invalid("; ".join(error.problems), field=field) from error
        return _as_version(newest, loaded)
    if not _NUMBER.fullmatch(word):
        raise Invalid(
            f"{field}: found {word[:64]!r}; allowed are a version, {RUNNING} and {FILE}",
            field=field,
        )
    return find_version(view, configuration, int(word))


def _as_version(newest: Version, loaded: Loaded) -> Version:
    values = snapshot(loaded, newest.changes)
    return dataclasses.replace(newest, values=values, readers=RECORDED)


def _private(rows: list[dict[str, Any]], principal: Principal) -> list[dict[str, Any]]:
    if principal.sees_payloads:
        return rows
    hidden = {"before": HIDDEN, "after": HIDDEN}
    return [{**row, **hidden} if _is_private(str(row["key"])) else row for row in rows]


def config_state(
    view: View, _message: m.ConfigState, _principal: Principal, _now: Now
) -> m.Document:
    """Tell which version holds, what waits for a restart, and who does not go by it."""
    return m.Document(state_document(view))


def state_document(view: View) -> dict[str, Any]:
    """Write how the configuration stands, in the fleet as well."""
    configuration = view.configuration
    if configuration is None:
        return {}
    newest = configuration.newest
    late = list(configured.behind(view.core))
    return {
        "version": newest.number,
        "author": newest.author,
        "at_ms": newest.at_ms,
        "profile": view.loaded.profile,
        "waiting": list(configuration.waiting),
        "store": store_state(view),
        "nodes": len(view.core.fleet.nodes),
        "behind_total": len(late),
        "behind": [
            {"name": node.name, "state": state.word, "why": state.why}
            for node, state in late[:BEHIND_MAX]
        ],
        "restarts": [
            {"name": node.name, "waiting": list(node.config.waiting)}
            for node in view.core.fleet.nodes.values()
            if node.config.waiting
        ][:BEHIND_MAX],
    }
