"""What can be asked and changed of a configuration: plain functions, and `cluster.config`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..protocol.errors import Invalid
from ..protocol.messages import (
    ChangeConfig,
    CompareConfig,
    ConfigState,
    Document,
    ListConfigVersions,
    Page,
    ShowConfig,
)
from .connection import Connection

KEY_BYTES = 16
CONFIRM_S = 15.0
POLL_S = 0.2
PENDING = frozenset({"behind"})
"""Who is in this state is about to say whether it goes by a change; others are not waited for."""

Edits = Sequence[Mapping[str, Any]]


def show(link: Connection, key: str = "", node: str = "") -> dict[str, Any]:
    """Return the settings of the scheduler, or those of a node as it reported them."""
    return link.request(ShowConfig(key, node), Document).body


def change(
    link: Connection, edits: Edits, *, if_version: int = 0, dry_run: bool = False
) -> dict[str, Any]:
    """Set values, or take changes back: each edit is a document as in `ChangeConfig`."""
    message = ChangeConfig(
        os.urandom(KEY_BYTES),
        "set",
        [dict(each) for each in edits],
        if_version=if_version,
        dry_run=dry_run,
    )
    return link.request(message, Document).body


def reload(link: Connection, *, if_version: int = 0, dry_run: bool = False) -> dict[str, Any]:
    """Have the scheduler, its store and every node read their files again."""
    message = ChangeConfig(os.urandom(KEY_BYTES), "reload", if_version=if_version, dry_run=dry_run)
    return link.request(message, Document).body


def rollback(
    link: Connection, version: int = 0, *, if_version: int = 0, dry_run: bool = False
) -> dict[str, Any]:
    """Make things as they were in a version; 0: in the one before the last."""
    message = ChangeConfig(
        os.urandom(KEY_BYTES), "rollback", to=version, if_version=if_version, dry_run=dry_run
    )
    return link.request(message, Document).body


def versions(link: Connection, limit: int = 100, cursor: str = "") -> Page:
    """List accepted versions, newest first; `cursor` is that of the page before."""
    return link.request(ListConfigVersions(limit, cursor), Page)


def compare(link: Connection, before: str, after: str) -> list[dict[str, Any]]:
    """Return what differs between versions; `running` and `file` name what is none yet."""
    return list(link.request(CompareConfig(before, after), Document).body["changed"])


def state(link: Connection) -> dict[str, Any]:
    """Return which version holds, what waits for a restart, and who is behind."""
    return link.request(ConfigState(), Document).body


def wait_confirmed(
    link: Connection,
    version: int,
    timeout_s: float = CONFIRM_S,
    tell: Callable[[int, int], None] = lambda _confirmed, _nodes: None,
) -> dict[str, Any]:
    """Wait until nodes that are heard, and the store, have said whether they go by a version.

    Returns the state. `tell` hears how many nodes have confirmed. A newer version ends the wait.
    """
    until = time.monotonic() + timeout_s
    while True:
        found = state(link)
        pending = [each for each in late(found) if each["state"] in PENDING]
        tell(found["nodes"] - found["behind_total"], found["nodes"])
        if not pending or found["version"] != version or time.monotonic() >= until:
            return found
        time.sleep(POLL_S)


def late(state: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return those that do not go by the newest version: the store, and nodes."""
    store = state.get("store") or {}
    is_late = store.get("state", "confirmed") != "confirmed"
    return [*([{"name": "the store", **store}] if is_late else []), *state["behind"]]


class Config:
    """The configuration of a cluster: `cluster.config`.

    What changes it returns a document with `version`, `changed` (each with `key`, `node`,
    `before`, `after` and its `effect`), `waiting` (what waits for a restart of the scheduler),
    `notes`, and `behind`: the nodes that do not go by it, each with its state and why. `store`
    says the same of the store, and is empty where there is none.
    """

    def __init__(self, link: Connection) -> None:
        self._link = link

    def get(self, key: str, *, node: str = "") -> Any:
        """Return one value, or a table as a dict of dotted keys."""
        entries = show(self._link, key, node)["entries"]
        found = {each["key"]: each.get("value") for each in entries}
        return found[key] if list(found) == [key] else found

    def show(self, key: str = "", *, node: str = "") -> list[dict[str, Any]]:
        """List values with where each was set; with `node` those that a node goes by."""
        return list(show(self._link, key, node)["entries"])

    def set(
        self,
        key: str | Mapping[str, Any],
        value: Any = None,
        *,
        node: str = "",
        if_version: int = 0,
        dry_run: bool = False,
        wait: bool = True,
    ) -> dict[str, Any]:
        """Change a value, or several at once: `set({"scheduler.lease": "20s", ...})`.

        With `if_version` only while that is the newest version; raises Conflict else.
        """
        wanted = {key: value} if isinstance(key, str) else dict(key)
        if None in wanted.values():
            raise Invalid("value: None sets nothing: take a change back with unset()")
        edits = [{"key": name, "value": each, "node": node} for name, each in wanted.items()]
        answer = change(self._link, edits, if_version=if_version, dry_run=dry_run)
        return self._confirmed(answer, wait=wait)

    def unset(
        self, *keys: str, node: str = "", if_version: int = 0, wait: bool = True
    ) -> dict[str, Any]:
        """Take changes of keys, or of whole tables, back: weaker layers count again."""
        edits = [{"key": name, "node": node} for name in keys]
        return self._confirmed(change(self._link, edits, if_version=if_version), wait=wait)

    def reload(self, *, wait: bool = True) -> dict[str, Any]:
        """Have the scheduler, its store and every node read their files again."""
        return self._confirmed(reload(self._link), wait=wait)

    def rollback(self, version: int = 0, *, wait: bool = True) -> dict[str, Any]:
        """Make things as they were in a version; without one, as before the last change."""
        return self._confirmed(rollback(self._link, version), wait=wait)

    def history(self) -> Iterator[dict[str, Any]]:
        """Yield accepted versions with author, time and what each changed, newest first."""
        cursor = ""
        while True:
            page = versions(self._link, cursor=cursor)
            yield from page.rows
            cursor = page.cursor
            if not cursor:
                return

    def diff(self, before: int | str, after: int | str = "running") -> list[dict[str, Any]]:
        """List what differs between two versions, or "running" and "file"."""
        return compare(self._link, str(before), str(after))

    def state(self) -> dict[str, Any]:
        """Return which version holds, what waits for a restart, and who is behind."""
        return state(self._link)

    def _confirmed(self, answer: dict[str, Any], *, wait: bool) -> dict[str, Any]:
        if not wait or answer["dry_run"]:
            return answer
        found = wait_confirmed(self._link, answer["version"])
        return {**answer, "behind": found["behind"], "store": found.get("store") or {}}
