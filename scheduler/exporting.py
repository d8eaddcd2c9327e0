"""What is told of each task to somebody who exports them: all but its payload, with every try."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from typing import Any

from ..protocol import asks, spec
from ..protocol import messages as m
from ..protocol.codec import unpack_document
from ..protocol.errors import Invalid
from ..protocol.resources import Request, describe_request
from .access import Principal
from .events import Now
from .listing import checked_filters, states_of, task_row
from .task import TERMINAL, State
from .view import View

ROWS_MAX = 150
"""Of one slice: with the tries of each that is work for 2 to 4 ms, in which nobody is served."""
BYTES_MAX = 1 << 20
ROW_BYTES, ATTEMPT_BYTES = 600, 300
MESSAGE_CHARS_MAX = 1_000
COMMAND_CHARS_MAX = 1_000
TIMES = ("since_ms", "until_ms", "ended_since_ms", "ended_until_ms")
TIME_MAX = 1 << 62
_OPEN = (State.WAITING, State.QUEUED, State.STOPPING)
_CURSOR = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})")


def export_tasks(view: View, message: m.ExportTasks, principal: Principal, _now: Now) -> m.Document:
    """Answer one slice; raises Invalid for filters or a cursor that are none."""
    filters = _checked(message.filters)
    if principal.owner_filter:
        filters["owner"] = principal.owner_filter
    after, last = _read_cursor(message.cursor, view.core.next_number - 1)
    states = states_of(filters)
    words = {state.word for state in states}
    asked = filters | {"states": _stored(states)}
    found, reached = view.catalogue.in_order(asked, after, last, ROWS_MAX)
    specs = _specs(view, found)
    attempts = view.history.attempts(row["id"] for row in found)
    rows: list[dict[str, Any]] = []
    room = BYTES_MAX
    for row in found:
        document, of_spec, request = specs[row["spec_id"]]
        shown = task_row(view, row, document)
        if shown["state"] not in words or not _has_tags(shown["tags"], filters):
            continue
        shown = of_spec | shown
        shown["attempts"] = [
            _attempt(request, of_spec["asked"], each) for each in attempts.get(row["id"], ())
        ]
        room -= _size(shown)
        if room < 0 and rows:  # the next slice begins with it
            reached = rows[-1]["number"]
            break
        rows.append(shown)
    cursor = f"{reached}.{last}" if reached < last else ""
    return m.Document({"rows": rows, "cursor": cursor, "at": reached, "last": last})


def _checked(filters: dict[str, Any]) -> dict[str, Any]:
    times = {name: filters[name] for name in TIMES if name in filters}
    for name, value in times.items():
        if type(value) is not int or not 0 <= value < TIME_MAX:
            raise Invalid(f"filters.{name}: is a time in Unix milliseconds", field=name)
    others = {name: value for name, value in filters.items() if name not in times}
    return checked_filters(others) | times


def _stored(states: frozenset[State]) -> list[str]:
    """Name what the journal may hold of tasks in these states: that one is on a node it does not.

    Those that have ended are known by it; of the others memory decides.
    """
    ended = [state.word for state in sorted(states & TERMINAL)]
    return ended + ([state.word for state in _OPEN] if states - TERMINAL else [])


def _read_cursor(cursor: str, newest: int) -> tuple[int, int]:
    if not cursor:
        return 0, newest
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise Invalid("cursor: give back what the last slice returned", field="cursor")
    return int(found[1]), int(found[2])


_OfSpec = tuple[dict[str, Any], dict[str, Any], Request]


def _specs(view: View, rows: Iterable[dict[str, Any]]) -> dict[int, _OfSpec]:
    """Read each spec once: its document, what of it is told of a task, what it asks for."""
    bodies = view.history.spec_bodies(dict.fromkeys(row["spec_id"] for row in rows))
    found: dict[int, _OfSpec] = {}
    for spec_id, body in bodies.items():
        document = unpack_document(body)
        read = spec.from_document(document)
        command = shlex.join(read.argv) if read.argv else read.target
        told = {
            "command": command[:COMMAND_CHARS_MAX],
            "priority": read.priority,
            "asked": describe_request(read.request),
        }
        found[spec_id] = document, told, read.request
    return found


def _attempt(request: Request, as_submitted: str, row: dict[str, Any]) -> dict[str, Any]:
    granted = asks.granted(request, row["asked"])
    row["message"] = row["message"][:MESSAGE_CHARS_MAX]
    row["asked"] = as_submitted if granted is request else describe_request(granted)
    row["vram_bytes"] = granted.vram_bytes
    return row


def _has_tags(tags: dict[str, str], filters: dict[str, Any]) -> bool:
    return all(tags.get(key) == value for key, value in (filters.get("tags") or {}).items())


def _size(row: dict[str, Any]) -> int:
    """Guess from above how long a row is as a message."""
    texts = sum(len(str(each)) for each in (row["tags"], row["command"], row["name"], row["asked"]))
    tries = sum(
        ATTEMPT_BYTES + 4 * (len(each["message"]) + len(each["asked"])) + 48 * len(each["gpus"])
        for each in row["attempts"]
    )
    return ROW_BYTES + 4 * texts + tries
