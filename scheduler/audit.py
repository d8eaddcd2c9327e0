"""Who did what: one row per request that changed something, each chained to the one before.

A request that was refused for want of rights has a row as well (see `refusals.py`); one that was
refused for what it said changed nothing, and has none. Old rows go, oldest first: the last of
them is kept as an anchor, from which the chain still verifies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import apsw

from ..protocol.chain import START, Link, link
from ..protocol.errors import Invalid
from ..protocol.keeping import AUDIT_ROWS_MAX
from .records import AuditRow

SCANNED_MAX = 5_000
"""A rare filter costs several short questions instead of a long one."""
CLOCK_SLACK_MS = 3_600_000
"""Rows are in the order of their numbers: a clock that was set back by more hides some."""
ANCHOR_KEY = "audit_anchor"
_ANCHOR_SPLIT = b":"
_FILTERS = {"by": str, "verb": str, "since_ms": int, "until_ms": int}
_ROW = "SELECT seq, at_ms, principal, verb, subject, hash FROM audit"


class Found(NamedTuple):
    """Rows of the audit as documents; `next` is where to go on (0: that was all)."""

    rows: list[dict[str, Any]]
    next: int


def write_audit(connection: apsw.Connection, rows: Iterable[AuditRow]) -> None:
    """Append requests to the audit, each chained to the one before by BLAKE2."""
    seq, previous = head_of(connection)
    for row in rows:
        seq += 1
        previous = link(previous, seq, *row)
        connection.execute(
            "INSERT INTO audit (seq, at_ms, principal, verb, subject, hash)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (seq, *row, previous),
        )


def head_of(connection: Any) -> Link:
    """Return the newest row of the chain, or the anchor when all rows went."""
    last = connection.execute("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    return Link(*last) if last else anchor_of(connection)


def anchor_of(connection: Any) -> Link:
    """Return the last row that was removed; row 0 when none was."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (ANCHOR_KEY,)).fetchone()
    if row is None:
        return Link(0, START)
    seq, _, found = bytes(row[0]).partition(_ANCHOR_SPLIT)
    return Link(int(seq), found)


def prune_audit(connection: apsw.Connection, before_ms: int, limit: int) -> int:
    """Remove the oldest rows from before a time, a few, and keep the last of them as the anchor.

    Part of a transaction; returns how many went. The newest row stays.
    """
    doomed: list[Any] = connection.execute(
        "SELECT seq, hash, at_ms FROM audit WHERE seq < (SELECT max(seq) FROM audit)"
        " ORDER BY seq LIMIT ?",
        (limit,),
    ).fetchall()
    count = next((i for i, row in enumerate(doomed) if row[2] >= before_ms), len(doomed))
    if not count:
        return 0
    seq, found, _ = doomed[count - 1]
    connection.execute("DELETE FROM audit WHERE seq <= ?", (seq,))
    connection.execute(
        "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)",
        (ANCHOR_KEY, str(seq).encode() + _ANCHOR_SPLIT + found),
    )
    return count


def first_broken_link(connection: Any) -> int | None:
    """Return the number of the first row that was altered, or None when the chain holds."""
    last = anchor_of(connection)
    for row in connection.execute(f"{_ROW} ORDER BY seq"):
        seq, *said, found = row
        if seq != last.seq + 1 or found != link(last.hash, seq, *said):
            return int(seq)
        last = Link(seq, found)
    return None


class AuditLog:
    """Reads the audit a slice at a time."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._db = connection

    def ends(self) -> tuple[Link, Link]:
        """Return the anchor and the head of the chain."""
        return anchor_of(self._db), head_of(self._db)

    def after(self, seq: int, filters: Mapping[str, Any], limit: int) -> Found:
        """Return rows after one, the oldest first."""
        rows = self._db.execute(f"{_ROW} WHERE seq > ? ORDER BY seq LIMIT ?", (seq, SCANNED_MAX))
        return _sift(rows, filters, limit, is_over=lambda _at_ms: False)

    def before(self, seq: int, filters: Mapping[str, Any], limit: int) -> Found:
        """Return rows before one (0: the newest), the newest first."""
        rows = self._db.execute(
            f"{_ROW} WHERE seq < ? ORDER BY seq DESC LIMIT ?", (seq or 1 << 62, SCANNED_MAX)
        )
        oldest_ms = filters.get("since_ms", 0) - CLOCK_SLACK_MS
        return _sift(rows, filters, limit, is_over=lambda at_ms: at_ms < oldest_ms)


def _sift(
    rows: Iterable[tuple[Any, ...]],
    filters: Mapping[str, Any],
    limit: int,
    *,
    is_over: Callable[[int], bool],
) -> Found:
    """Keep what is wanted of rows, until there is enough of it."""
    found: list[dict[str, Any]] = []
    scanned = 0
    for scanned, values in enumerate(rows, 1):
        row = dict(
            zip(("seq", "at_ms", "principal", "verb", "subject", "hash"), values, strict=True)
        )
        if is_over(row["at_ms"]):
            return Found(found, 0)
        if _is_wanted(row, filters):
            found.append(row)
        if len(found) == limit or scanned == SCANNED_MAX:
            return Found(found, row["seq"])
    return Found(found, 0)


def _is_wanted(row: Mapping[str, Any], filters: Mapping[str, Any]) -> bool:
    return (
        filters.get("by", "") in ("", row["principal"])
        and row["verb"].startswith(filters.get("verb", ""))
        and row["at_ms"] >= filters.get("since_ms", 0)
        and row["at_ms"] < filters.get("until_ms", 1 << 62)
    )


def checked(filters: Mapping[str, Any], limit: int) -> None:
    """Raise Invalid for filters that the audit has not, and for too many rows."""
    for name, value in filters.items():
        if name not in _FILTERS:
            known = ", ".join(_FILTERS)
            raise Invalid(f"filters.{name}: there is no such filter: {known}", field="filters")
        if type(value) is not _FILTERS[name]:
            raise Invalid(f"filters.{name}: found {value!r}", field=f"filters.{name}")
    if not 1 <= limit <= AUDIT_ROWS_MAX:
        raise Invalid(f"limit: found {limit}, allowed are 1 to {AUDIT_ROWS_MAX}", field="limit")
