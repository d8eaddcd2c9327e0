"""What was each task, and how did each of its tries go? One document for each, as `--json` has it.

Documents have stable keys, states in lower case, times in RFC 3339 (UTC) or None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..protocol import ids
from ..protocol.errors import Invalid
from ..protocol.messages import Document, ExportTasks
from .connection import Connection
from .moments import parse_past_ms, rfc3339

Row = Mapping[str, Any]
US_PER_S = 1_000_000


def times_of(
    *,
    since: object = None,
    until: object = None,
    ended_since: object = None,
    ended_until: object = None,
) -> dict[str, int]:
    """Read the times of an export as filters: durations until now, or moments; raises Invalid."""
    asked = {
        "since": since,
        "until": until,
        "ended_since": ended_since,
        "ended_until": ended_until,
    }
    found = {f"{name}_ms": parse_past_ms(name, value) for name, value in asked.items()}
    for before in ("", "ended_"):
        first, last = (found[f"{before}{each}_ms"] for each in ("since", "until"))
        if last and first > last:
            raise Invalid(
                f"{before}since is later than {before}until: nothing lies between them",
                field=f"{before}since",
            )
    return {name: value for name, value in found.items() if value}


def export(
    link: Connection,
    filters: Mapping[str, Any],
    on_slice: Callable[[int, int], None] = lambda _at, _last: None,
) -> Iterator[dict[str, Any]]:
    """Yield tasks in the order of their submission, as they are read: one slice is in memory.

    Those that are submitted meanwhile are left out. `on_slice` is told up to which number was
    looked, and the last one.
    """
    cursor = ""
    while True:
        body = link.request(ExportTasks(dict(filters), cursor), Document).body
        for row in body["rows"]:
            yield document(row)
        on_slice(body["at"], body["last"])
        cursor = body["cursor"]
        if not cursor:
            return


def document(row: Row) -> dict[str, Any]:
    """Write a task with its tries."""
    return {
        "id": _id(row["id"], row["batch"]),
        "number": row["number"],
        "batch": _id(row["batch"]),
        "name": row["name"],
        "kind": row["kind"],
        "command": row["command"],
        "state": row["state"],
        "code": row["code"] or None,
        "owner": row["owner"],
        "node": row["node"] or None,
        "priority": row["priority"],
        "tags": dict(row["tags"]),
        "asked": row["asked"],
        "retry_of": _id(row["retry_of"]),
        "created_at": rfc3339(row["created_ms"]),
        "started_at": rfc3339(row["started_ms"]),
        "ended_at": rfc3339(row["ended_ms"]),
        "attempts": [_attempt(each) for each in row["attempts"]],
    }


def _attempt(row: Row) -> dict[str, Any]:
    has_ended = bool(row["ended_ms"])
    peak = row["vram_peak_bytes"]
    return {
        "number": row["number"],
        "node": row["node"],
        "gpus": list(row["gpus"]),
        "asked": row["asked"],
        "outcome": row["outcome"] or None,
        "code": row["code"] or None,
        "message": row["message"] or None,
        "granted_at": rfc3339(row["granted_ms"]),
        "ended_at": rfc3339(row["ended_ms"]),
        "late_at": rfc3339(row["late_ms"]),
        "run_s": row["run_us"] / US_PER_S if has_ended else None,
        "vram_bytes": row["vram_bytes"],
        "vram_peak_bytes": peak if peak >= 0 else None,
        "batch_calls": row["batch_calls"],
    }


def _id(task: bytes, batch: bytes = b"") -> str | None:
    """Write an id as users know it, a member of a batch as `ID.7`."""
    if not task:
        return None
    return ids.format_id(ids.from_bytes(task), ids.from_bytes(batch) if batch else 0)
