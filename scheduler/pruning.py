"""How are ended tasks removed: all their rows in one slice, and which of them somebody asked for?

What tells that a frame or a key was used before stays for as long as retention: a frame that is
sent again after its tasks were pruned does not run again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import apsw
import msgpack

from ..protocol import ids
from .audit import write_audit
from .object_refs import let_go, let_go_of_specs
from .records import AuditRow
from .room import Room
from .task import State

SCANNED_MAX = 2_000
"""A rare filter costs several short questions instead of a long one."""
_CURSOR_START = (0, b"")


class Doomed(NamedTuple):
    """A task that has ended: its id as it is stored, its spec and its state."""

    id: bytes
    spec_id: int
    state: int


class Slice(NamedTuple):
    """What one request removed, or would remove; `cursor` is empty when no more are left.

    `open` and `unknown` count the ids that were named in vain.
    """

    removed: int
    open: int = 0
    unknown: int = 0
    cursor: str = ""


def remove(db: apsw.Connection, doomed: Sequence[Doomed]) -> None:
    """Remove tasks with their attempts and results, and the specs that nobody needs any more."""
    tasks = [(task.id,) for task in doomed]
    specs = {(task.spec_id,) for task in doomed}
    db.executemany("DELETE FROM attempts WHERE task = ?", tasks)
    db.executemany("DELETE FROM batched WHERE task = ?", tasks)
    db.executemany("DELETE FROM results WHERE task = ?", tasks)
    db.executemany("DELETE FROM tasks WHERE id = ?", tasks)
    let_go(db, tasks)
    db.executemany(
        "DELETE FROM specs WHERE spec_id = ?1"
        " AND spec_id < (SELECT max(spec_id) FROM specs)"
        " AND NOT EXISTS (SELECT 1 FROM tasks WHERE spec_id = ?1)",
        specs,
    )
    let_go_of_specs(db, specs)


class Pruning:
    """Removes what was asked for, one slice and one transaction at a time, between turns."""

    def __init__(self, connection: apsw.Connection, room: Room) -> None:
        self._db = connection
        self._room = room
        self._removed: Counter[int] = Counter()

    def by_id(self, tasks: Iterable[bytes], owner: str) -> tuple[list[Doomed], Slice]:
        """Find those of these tasks that have ended, of one owner or (with "") of anybody."""
        wanted = list(dict.fromkeys(tasks))
        found, still_open = [], 0
        for task in wanted:
            row = self._db.execute(
                "SELECT spec_id, state, ended_ms FROM tasks WHERE id = ?1 AND ?2 IN ('', owner)",
                (task, owner),
            ).fetchone()
            if row is not None and row[2]:
                found.append(Doomed(task, row[0], row[1]))
            elif row is not None:
                still_open += 1
        return found, Slice(len(found), still_open, len(wanted) - len(found) - still_open)

    def by_filter(
        self, filters: Mapping[str, Any], before_ms: int, cursor: str, limit: int
    ) -> tuple[list[Doomed], Slice]:
        """Find a slice of the tasks that ended before a time, the oldest first."""
        where, values = _where(filters)
        rows = self._db.execute(
            f"SELECT t.id, t.spec_id, t.state, t.ended_ms, {where} FROM tasks t"  # noqa: S608
            " WHERE t.ended_ms > 0 AND t.ended_ms < ? AND (t.ended_ms, t.id) > (?, ?)"
            " ORDER BY t.ended_ms, t.id LIMIT ?",
            (*values, before_ms, *_read_cursor(cursor), SCANNED_MAX),
        )
        found: list[Doomed] = []
        for scanned, (task, spec_id, state, ended_ms, is_wanted) in enumerate(rows, 1):
            if is_wanted and self._has_tags(spec_id, filters.get("tags") or {}):
                found.append(Doomed(task, spec_id, state))
            if len(found) == limit or scanned == SCANNED_MAX:
                return found, Slice(len(found), cursor=f"{ended_ms}.{task.hex()}")
        return found, Slice(len(found))

    def remove(self, doomed: Sequence[Doomed], principal: str, now_ms: int) -> None:
        """Remove a slice durably, with a row of the audit; raises `apsw.FullError`."""
        row = AuditRow(now_ms, principal, "prune", f"{len(doomed)} tasks")

        def write() -> None:
            remove(self._db, doomed)
            write_audit(self._db, [row])

        self._room.write(self._db, write)
        self.count(doomed)

    def count(self, doomed: Iterable[Doomed]) -> None:
        """Note what is gone."""
        self._removed.update(task.state for task in doomed)

    def take_removed(self) -> Counter[int]:
        """Return how many tasks of each state went since the last time."""
        removed, self._removed = self._removed, Counter()
        return removed

    def _has_tags(self, spec_id: int, wanted: Mapping[str, str]) -> bool:
        if not wanted:
            return True
        ((body,),) = self._db.execute("SELECT body FROM specs WHERE spec_id = ?", (spec_id,))
        tags = msgpack.unpackb(body).get("tags", {})
        return all(tags.get(key) == value for key, value in wanted.items())


def _where(filters: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """Write filters as one expression: a row that is not wanted still moves the cursor on."""
    terms, values = ["1"], []
    if states := filters.get("states"):
        terms.append(f"t.state IN ({','.join('?' * len(states))})")
        values += [int(State[word.upper()]) for word in states]
    for key in ("owner", "name", "batch"):
        if filters.get(key):
            terms.append(f"coalesce(t.{key}, '') = ?")
            values.append(filters[key])
    if filters.get("node"):
        terms.append("EXISTS (SELECT 1 FROM attempts WHERE task = t.id AND node = ?)")
        values.append(filters["node"])
    return " AND ".join(terms), values


def _read_cursor(text: str) -> tuple[int, bytes]:
    """Read what a slice before returned; anything else starts over."""
    ended_ms, _, task = text.partition(".")
    if not ended_ms.isdecimal() or len(task) != 2 * ids.ID_BYTES:
        return _CURSOR_START
    try:
        return min(int(ended_ms), 1 << 62), bytes.fromhex(task)
    except ValueError:
        return _CURSOR_START
