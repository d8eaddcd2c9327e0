"""Which tasks there are: pages of a listing, newest first, and counts."""

from __future__ import annotations

import re
from typing import Any

import apsw
import msgpack

from ..protocol import ids
from .history import ROW, History, row_of
from .task import State

COUNTED_MAX = 100_000
SCANNED_MAX = 20_000
SLICE_MAX = 2_000
_CURSOR = re.compile(r"[0-9]{1,18}")


class Catalogue:
    """Lists and counts stored tasks, in questions that stay short."""

    def __init__(self, connection: apsw.Connection, history: History) -> None:
        self._db = connection
        self._history = history

    def last_task(self, owner: str = "") -> int | None:
        """Return the newest task, of an owner if one is named."""
        row = self._db.execute(
            "SELECT id FROM tasks WHERE ?1 = '' OR owner = ?1 ORDER BY number DESC LIMIT 1",
            (owner,),
        ).fetchone()
        return None if row is None else ids.from_bytes(row[0])

    def list_tasks(
        self, filters: dict[str, Any], limit: int, cursor: str, *, counted: bool = True
    ) -> tuple[list[dict[str, Any]], int, str]:
        """Return a page of tasks, newest first, the count of all that match, the next cursor.

        Without `counted` the count is that of the page; else it stops at `COUNTED_MAX`. A page ends
        early after `SCANNED_MAX` tasks were looked at, so that a rare filter costs several short
        questions instead of a long one.
        """
        where, values = _where(filters)
        found: list[dict[str, Any]] = []
        below = int(cursor) if _CURSOR.fullmatch(cursor) else 1 << 62
        tags = filters.get("tags") or {}
        scanned = 0
        for row in map(
            row_of,
            self._db.execute(
                f"{ROW} WHERE {where} AND t.number < ? ORDER BY t.number DESC LIMIT ?",
                (*values, below, SCANNED_MAX if tags else limit),
            ),
        ):
            scanned += 1
            below = row["number"]
            if not tags or self._has_tags(row["spec_id"], tags):
                found.append(row)
                if len(found) == limit:
                    break
        more = len(found) == limit or scanned == SCANNED_MAX
        total = self._count(where, values, filters, len(found)) if counted else len(found)
        return found, total, str(below) if more else ""

    def in_order(
        self, filters: dict[str, Any], after: int, upto: int, limit: int
    ) -> tuple[list[dict[str, Any]], int]:
        """Return the next tasks by number that match, and up to which number was looked.

        No more than `SLICE_MAX` are looked at, whatever matches; tags are not.
        """
        ((reached,),) = self._db.execute(
            "SELECT coalesce(max(number), ?2) FROM (SELECT number FROM tasks WHERE number > ?1"
            " AND number <= ?2 ORDER BY number LIMIT ?3)",
            (after, upto, SLICE_MAX),
        )
        where, values = _where(filters)
        found = [
            row_of(row)
            for row in self._db.execute(
                f"{ROW} WHERE {where} AND t.number > ? AND t.number <= ? ORDER BY t.number LIMIT ?",
                (*values, after, reached, limit),
            )
        ]
        return found, found[-1]["number"] if len(found) == limit else int(reached)

    def _count(self, where: str, values: list[Any], filters: dict[str, Any], page: int) -> int:
        if filters.get("tags"):
            return page
        ((total,),) = self._db.execute(
            f"SELECT count(*) FROM (SELECT 1 FROM tasks t WHERE {where} LIMIT ?)",  # noqa: S608
            (*values, COUNTED_MAX),
        )
        return int(total)

    def _has_tags(self, spec_id: int, wanted: dict[str, str]) -> bool:
        body = self._history.spec_bodies([spec_id])[spec_id]
        tags = msgpack.unpackb(body).get("tags", {})
        return all(tags.get(key) == value for key, value in wanted.items())

    def ended_before(self, ended_ms: int, task: bytes, limit: int) -> list[dict[str, Any]]:
        """Return the tasks that ended before a time (and an id), the last one first."""
        rows = self._db.execute(
            f"{ROW} WHERE t.ended_ms > 0 AND (t.ended_ms, t.id) < (?, ?)"
            " ORDER BY t.ended_ms DESC, t.id DESC LIMIT ?",
            (ended_ms, task, limit),
        )
        return [row_of(row) for row in rows]

    def ended_counts(self) -> dict[int, int]:
        """Count all ended tasks by state; asked once, at start."""
        return dict(
            self._db.execute("SELECT state, count(*) FROM tasks WHERE ended_ms > 0 GROUP BY state")
        )


def _where(filters: dict[str, Any]) -> tuple[str, list[Any]]:
    """Write the filters of a listing as SQL with bound values."""
    terms, values = ["1"], []
    if states := filters.get("states"):
        numbers = [int(State[word.upper()]) for word in states]
        terms.append(f"t.state IN ({','.join('?' * len(numbers))})")
        values += numbers
    for key in ("owner", "name"):
        if filters.get(key):
            terms.append(f"t.{key} = ?")
            values.append(filters[key])
    for key, column in (("since_ms", "created_ms"), ("ended_since_ms", "ended_ms")):
        if filters.get(key):
            terms.append(f"t.{column} >= ?")
            values.append(filters[key])
    for key, column in (("until_ms", "created_ms"), ("ended_until_ms", "ended_ms")):
        if filters.get(key):
            terms.append(f"t.{column} BETWEEN 1 AND ?")
            values.append(filters[key])
    if filters.get("batch"):
        terms.append("t.batch = ?")
        values.append(filters["batch"])
    if filters.get("node"):
        terms.append("EXISTS (SELECT 1 FROM attempts WHERE task = t.id AND node = ?)")
        values.append(filters["node"])
    return " AND ".join(terms), values
