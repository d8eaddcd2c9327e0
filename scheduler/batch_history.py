"""What does the journal tell of batches: which there are, and how their members ended?"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import apsw

from ..protocol import ids
from .batches import FAILURES_KEPT, EndedMembers
from .task import State

SEARCHED_MAX = 2_000


class BatchBrief(NamedTuple):
    """A stored batch: whose it is, how many members it has, and where their indices end."""

    batch: int
    owner: str
    created_ms: int
    total: int
    end: int


class BatchHistory:
    """Reads of the journal that tell of batches; members follow their batch by id."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._db = connection

    def brief(self, batch: int) -> BatchBrief | None:
        """Return what the frames of a batch say of it."""
        ((owner, created_ms, total, end),) = self._db.execute(
            "SELECT max(principal), min(created_ms), sum(members), max(offset + members)"
            " FROM submissions WHERE batch = ?",
            (ids.to_bytes(batch),),
        )
        return BatchBrief(batch, owner, created_ms, total, end) if total else None

    def page(self, owner: str, below: bytes, limit: int) -> tuple[list[int], bytes]:
        """Return the newest batches below an id, of an owner if one is named, and where to go on.

        A page ends early after `SEARCHED_MAX` batches; nothing to go on from: there are no more.
        """
        found: list[int] = []
        for _ in range(SEARCHED_MAX):
            row = self._db.execute(
                "SELECT batch, principal FROM submissions WHERE batch IS NOT NULL AND batch < ?"
                " ORDER BY batch DESC LIMIT 1",
                (below,),
            ).fetchone()
            if row is None:
                return found, b""
            below = row[0]
            if owner in ("", row[1]):
                found.append(ids.from_bytes(below))
                if len(found) == limit:
                    break
        return found, below

    def ended(self, batch: int, start: int, end: int) -> EndedMembers:
        """Tell of the members from index `start` on, below `end`, how they ended."""
        bounds = (ids.to_bytes(ids.member(batch, start)), ids.to_bytes(ids.member(batch, end)))
        counts: Counter[int] = Counter()
        for state, count in self._db.execute(
            "SELECT state, count(*) FROM tasks WHERE id >= ? AND id < ? AND ended_ms > 0"
            " GROUP BY state",
            bounds,
        ):
            counts[state] += count
        failures = []
        if counts[State.FAILED]:
            failures = [
                ids.from_bytes(task)
                for (task,) in self._db.execute(
                    "SELECT id FROM tasks WHERE id >= ? AND id < ? AND state = ? LIMIT ?",
                    (*bounds, int(State.FAILED), FAILURES_KEPT),
                )
            ]
        return EndedMembers(dict(counts), failures)

    def ended_of(self, batch: int) -> EndedMembers:
        """Tell of all members how they ended; asked at a start, of each batch with open tasks."""
        brief = self.brief(batch)
        return self.ended(batch, 0, brief.end) if brief else EndedMembers({}, [])
