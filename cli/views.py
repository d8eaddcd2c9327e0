"""Which keys do `--json` rows have? One builder per thing; people's tables start from them too.

Keys are snake_case and stable, states lower case, times RFC 3339 in UTC or null, sizes in bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..protocol.spec import PRIORITY_DEFAULT
from .writing import rfc3339, row_id

Row = Mapping[str, Any]
_TIMES = {
    "created_ms": "created_at",
    "started_ms": "started_at",
    "ended_ms": "ended_at",
    "granted_ms": "granted_at",
    "revoked_ms": "revoked_at",
    "seen_ms": "seen_at",
    "next_try_ms": "next_try_at",
    "deadline_ms": "deadline_at",
    "expiry_ms": "expiry_at",
}


def task(row: Row) -> dict[str, Any]:
    """Return a task of a listing."""
    return {
        "id": row_id(row),
        "number": row["number"],
        "batch": row_id(row, "batch") or None,
        "name": row.get("name", ""),
        "kind": row.get("kind", ""),
        "state": row["state"],
        "code": row.get("code") or None,
        "owner": row.get("owner", ""),
        "node": row.get("node") or None,
        "attempt": row.get("attempt", 0),
        "priority": row.get("priority"),
        "progress": progress(row),
        "progress_text": row.get("progress_text") or None,
        "tags": row.get("tags", {}),
        "retry_of": row_id(row, "retry_of") or None,
        "created_at": rfc3339(row.get("created_ms")),
        "started_at": rfc3339(row.get("started_ms")),
        "ended_at": rfc3339(row.get("ended_ms")),
    }


def reservation(row: Row) -> dict[str, Any]:
    """Return a place that is kept for a waiting task; `start_at` is null where nobody knows it."""
    return {
        "task": row_id(row, "task"),
        "number": row["number"],
        "node": row["node"],
        "gpus": list(row.get("gpus") or []),
        "since_at": rfc3339(row.get("since_ms")),
        "start_at": rfc3339(row.get("start_ms")),
        "after_tasks": row.get("after", 0),
    }


def task_in_full(document: Row) -> dict[str, Any]:
    """Return all that is known of one task, its attempts and its end included."""
    details = plain(_readable(document.get("detail") or {}))
    started_ms = last_start_ms(document)
    return {
        **task(document),
        "priority": (document.get("spec") or {}).get("priority", PRIORITY_DEFAULT),
        "started_at": rfc3339(started_ms),
        "once": document.get("once") or None,
        "entry": entry(document),
        "array_index": array_index(document),
        "request": plain(_readable(document.get("spec") or {})),
        "raised": plain(document.get("raised") or {}),
        "sized": plain(document.get("sized") or {}),
        "budgets": plain(document.get("budgets") or []),
        "attempts": [plain(each) for each in document.get("attempts", [])],
        "exit_code": details.get("exit_code"),
        "signal": details.get("signal"),
        "message": details.get("message"),
        "detail": details,
    }


def entry(document: Row) -> str | None:
    """Return the entry of a member of `--each-line`; None for others, and where it is hidden."""
    return told(document, "each")


def array_index(document: Row) -> int | None:
    """Return the index of a member of `--array`; None for others, and where it is hidden."""
    text = told(document, "array")
    return int(text) if text and text.isdecimal() else None


def told(document: Row, flag: str) -> str | None:
    """Read what a command is told by its argument, if its request has this flag."""
    if not (document.get("spec") or {}).get(flag) or "args" not in document:
        return None
    return bytes(document["args"]).decode(errors="replace")


def batch(row: Row) -> dict[str, Any]:
    """Return a batch: `rate` is in tasks per second, null where nobody knows, as is `eta_s`."""
    return {
        "id": row_id(row),
        "name": row.get("name", ""),
        "owner": row.get("owner", ""),
        "created_at": rfc3339(row.get("created_ms")),
        "total": row["total"],
        "open": row.get("open", 0),
        "counts": dict(row["counts"]),
        "rate": row.get("rate"),
        "eta_s": row.get("eta_s"),
    }


def last_start_ms(document: Row) -> int:
    """Return when the newest try was given to its node; 0 before any."""
    attempts = document.get("attempts") or [{}]
    return int(document.get("started_ms") or attempts[-1].get("granted_ms") or 0)


def progress(row: Row) -> float | None:
    """Return the progress from 0 to 1; None when the task told none."""
    milli = row.get("progress_milli", -1)
    return None if milli is None or milli < 0 else milli / 1000


def _readable(document: Row) -> dict[str, Any]:
    """Return a request or a detail with digests in hexadecimal."""
    found = dict(document)
    for key in ("project", "stdin_object"):
        if isinstance(found.get(key), bytes):
            found[key] = found[key].hex()
    for key in ("files", "logs"):
        if found.get(key):
            found[key] = {name: _with_hex(row) for name, row in found[key].items()}
    if found.get("outputs"):  # patterns in a request, rows in a detail
        found["outputs"] = [_with_hex(row) for row in found["outputs"]]
    return found


def _with_hex(row: Any) -> Any:
    if not isinstance(row, (list, tuple)):
        return row
    return [each.hex() if isinstance(each, bytes) else each for each in row]


def plain(value: Any) -> Any:
    """Turn a document into what JSON can hold: times as text, bytes as text where they are."""
    if isinstance(value, Mapping):
        return {
            _TIMES.get(str(key), str(key)): rfc3339(each) if key in _TIMES else plain(each)
            for key, each in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode(errors="replace")
    return value
