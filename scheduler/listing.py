"""Which tasks a page shows: active ones from memory, ended ones from the journal, newest first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from ..protocol.codec import unpack_document
from ..protocol.errors import Invalid
from ..protocol.ids import ID_BYTES, from_bytes
from ..protocol.messages import ListTasks, Page
from .access import Principal
from .task import ON_NODE, TERMINAL, State, Task
from .view import View, id_bytes

PAGE_MAX = 1_000
SCANNED_MAX = 50_000
JOINED_MAX = 5_000
COUNTED_MAX = 10_000
ROUNDS_MAX = 5
FILTER_CHARS_MAX = 1_024
_CURSOR = re.compile(r"[0-9]{1,18}")
_STATES = {state.word: state for state in State}
_ACTIVE = frozenset(State) - TERMINAL
_TEXTS = ("owner", "node", "name")


def list_tasks(view: View, message: ListTasks, principal: Principal) -> Page:
    """Answer one page; raises Invalid for filters that are none."""
    filters = checked_filters(message.filters)
    if principal.owner_filter:
        filters["owner"] = principal.owner_filter
    limit = min(max(message.limit, 1), PAGE_MAX)
    if message.cursor and not _CURSOR.fullmatch(message.cursor):
        raise Invalid("cursor: give back what the last page returned", field="cursor")
    states = states_of(filters)
    if states <= _ACTIVE:
        return _page_of_active(view, filters, states, limit, message.cursor)
    return _page_of_all(view, filters, states, limit, message.cursor)


def task_row(view: View, row: dict[str, Any], spec: dict[str, Any] | None = None) -> dict[str, Any]:
    """Write a row of the journal as clients read it, with what memory and the spec add."""
    live = view.core.tasks.get(row["id"])
    shown = {
        "id": id_bytes(row["id"]),
        "number": row["number"],
        "batch": id_bytes(row["batch"]),
        "name": row["name"],
        "owner": row["owner"],
        "state": State(row["state"]).word,
        "code": row["code"],
        "node": row["node"],
        "attempt": row["attempt"],
        "created_ms": row["created_ms"],
        "started_ms": row["started_ms"],
        "ended_ms": row["ended_ms"],
        "retry_of": id_bytes(row["retry_of"]),
        "kind": (spec or {}).get("kind", ""),
        "tags": (spec or {}).get("tags", {}),
    }
    if live is not None:
        shown |= {
            "state": live.state.word,
            "attempt": live.attempt,
            "node": live.live.node if live.live else "",
            "priority": live.spec.policy.priority,
            "progress_milli": live.live.progress_milli if live.live else -1,
            "progress_text": live.live.progress_text if live.live else "",
        }
    return shown


def checked_filters(filters: dict[str, Any]) -> dict[str, Any]:
    """Return the filters of a listing; raises Invalid for what is none."""
    known = {"active", "states", "batch", "tags", *_TEXTS}
    for name in filters:
        if name not in known:
            raise Invalid(f"filters.{name}: allowed are {', '.join(sorted(known))}", field=name)
    for name in _TEXTS:
        value = filters.get(name, "")
        if type(value) is not str or len(value) > FILTER_CHARS_MAX:
            raise Invalid(f"filters.{name}: is a text", field=name)
    states = filters.get("states") or []
    if type(states) is not list or not all(
        type(state) is str and state in _STATES for state in states
    ):
        raise Invalid(f"filters.states: allowed are {', '.join(_STATES)}", field="states")
    batch = filters.get("batch") or b""
    if type(batch) is not bytes or len(batch) not in (0, ID_BYTES):
        raise Invalid("filters.batch: is the id of a batch", field="batch")
    tags = filters.get("tags") or {}
    if type(tags) is not dict or not all(type(value) is str for value in tags.values()):
        raise Invalid("filters.tags: is a map of texts", field="tags")
    return dict(filters)


def states_of(filters: dict[str, Any]) -> frozenset[State]:
    """Return the states that filters mean."""
    wanted = frozenset(_STATES[word] for word in filters.get("states") or [])
    if filters.get("active"):
        return (wanted & _ACTIVE) or _ACTIVE
    return wanted or frozenset(State)


def _page_of_active(
    view: View, filters: dict[str, Any], states: frozenset[State], limit: int, cursor: str
) -> Page:
    """Walk the tasks in memory from the newest, and join what only the journal has."""
    below = int(cursor) if cursor else 1 << 62
    candidates = _candidates(view, filters, states, below)
    rows: list[dict[str, Any]] = []
    reached, more = below, True
    scanned = 0
    joined_only = bool(filters.get("name") or filters.get("tags"))
    scanned_max = JOINED_MAX if joined_only else SCANNED_MAX
    while len(rows) < limit and scanned < scanned_max:
        chunk = list(islice(candidates, limit))
        if not chunk:
            more = False
            break
        scanned += len(chunk)
        for row in _joined(view, [task.id for task in chunk], filters):
            if len(rows) < limit:
                rows.append(row)
                reached = row["number"]
        if len(rows) < limit:
            reached = chunk[-1].number
    total = _known_total(view, filters, states)
    if total is None:
        total = len(rows) + sum(1 for _ in islice(candidates, COUNTED_MAX))
    return Page(rows, total, str(reached) if more else "")


def _known_total(view: View, filters: dict[str, Any], states: frozenset[State]) -> int | None:
    """Return the count of all that match where memory has it at hand."""
    if any(filters.get(name) for name in ("node", "name", "batch", "tags")):
        return None
    if owner := filters.get("owner"):
        return view.core.open_by_owner[owner] if states == _ACTIVE else None
    return sum(view.core.counts[state] + view.ended[state] for state in states)


def _candidates(
    view: View, filters: dict[str, Any], states: frozenset[State], below: int
) -> Iterator[Task]:
    source: Iterable[Task]
    if states <= ON_NODE:
        held = (task for node in view.core.fleet.nodes.values() for task in node.held.values())
        source = sorted(held, key=lambda task: task.number, reverse=True)
    else:
        source = reversed(view.core.tasks.values())
    owner, node = filters.get("owner"), filters.get("node")
    batch = from_bytes(filters["batch"]) if filters.get("batch") else 0
    for task in source:
        if task.number >= below or task.state not in states:
            continue
        if owner and task.spec.owner != owner:
            continue
        if batch and task.batch != batch:
            continue
        if node and (task.live is None or task.live.node != node):
            continue
        yield task


def _joined(view: View, task_ids: list[int], filters: dict[str, Any]) -> list[dict[str, Any]]:
    stored = view.history.task_rows(task_ids)
    known = [stored[task_id] for task_id in task_ids if task_id in stored]
    if name := filters.get("name"):
        known = [row for row in known if row["name"] == name]
    return _with_tags(view, known, filters.get("tags") or {})


def _with_tags(
    view: View, rows: list[dict[str, Any]], wanted: dict[str, str]
) -> list[dict[str, Any]]:
    """Write rows with what their specs say, those alone that have the wanted tags."""
    bodies = view.history.spec_bodies(dict.fromkeys(row["spec_id"] for row in rows))
    specs = {spec_id: unpack_document(body) for spec_id, body in bodies.items()}
    shown = []
    for row in rows:
        spec = specs.get(row["spec_id"], {})
        tags = spec.get("tags", {})
        if all(tags.get(key) == value for key, value in wanted.items()):
            shown.append(task_row(view, row, spec))
    return shown


def _page_of_all(
    view: View, filters: dict[str, Any], states: frozenset[State], limit: int, cursor: str
) -> Page:
    """Page over the journal; rows of active tasks are judged by what memory says of them."""
    asked = {key: value for key, value in filters.items() if key != "states"}
    if states <= TERMINAL:
        asked["states"] = [state.word for state in states]
    words = {state.word for state in states}
    rows: list[dict[str, Any]] = []
    total = _known_total(view, filters, states)
    for _ in range(ROUNDS_MAX):
        found, count, cursor = view.catalogue.list_tasks(
            asked, limit - len(rows), cursor, counted=total is None
        )
        total = count if total is None else total
        rows += [row for row in _with_tags(view, found, {}) if row["state"] in words]
        if len(rows) >= limit or not cursor:
            break
    return Page(rows, total or 0, cursor)
