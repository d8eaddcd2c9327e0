"""Which objects of the store do tasks and specs refer to, as rows that come and go with them?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import apsw

from ..protocol import ids
from ..protocol.claims import split_objects
from .records import Commit

SPEC_HOLDER_BYTES = 8
CHUNK = 500


class ObjectRefs:
    """Reads what is referred to."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._db = connection

    def of_task(self, task_id: int) -> bytes:
        """Return all objects that a task names: in its spec, its argument and its result."""
        row = self._db.execute(
            "SELECT s.objects, t.objects, coalesce(r.objects, x'') FROM tasks t"
            " JOIN specs s ON s.spec_id = t.spec_id LEFT JOIN results r ON r.task = t.id"
            " WHERE t.id = ?",
            (ids.to_bytes(task_id),),
        ).fetchone()
        return b"".join(row or ())

    def are_held(self, digests: Sequence[bytes]) -> list[bool]:
        """Tell of each object whether some task refers to it."""
        held: set[bytes] = set()
        for start in range(0, len(digests), CHUNK):
            chunk = digests[start : start + CHUNK]
            marks = ",".join("?" * len(chunk))
            rows = self._db.execute(
                f"SELECT digest FROM object_refs WHERE digest IN ({marks})",  # noqa: S608 - question marks
                chunk,
            )
            held.update(digest for (digest,) in rows)
        return [digest in held for digest in digests]


def refer(db: apsw.Connection, commit: Commit) -> None:
    """Write down what new tasks, specs and results name."""
    named = [(ids.to_bytes(row.id), row.objects) for row in commit.tasks if row.objects]
    named += [(_spec_holder(row.spec_id), row.objects) for row in commit.specs if row.objects]
    named += [(ids.to_bytes(row.id), row.objects) for row in commit.results if row.objects]
    if named:
        db.executemany(
            "INSERT OR IGNORE INTO object_refs (holder, digest) VALUES (?, ?)",
            [(holder, each.digest) for holder, objects in named for each in split_objects(objects)],
        )


def let_go(db: apsw.Connection, tasks: Iterable[tuple[bytes]]) -> None:
    """Forget what tasks named that are removed."""
    db.executemany("DELETE FROM object_refs WHERE holder = ?", tasks)


def let_go_of_specs(db: apsw.Connection, spec_ids: Iterable[tuple[int]]) -> None:
    """Forget what those of these specs named that are gone."""
    db.executemany(
        "DELETE FROM object_refs WHERE holder = ?"
        " AND NOT EXISTS (SELECT 1 FROM specs WHERE spec_id = ?)",
        [(_spec_holder(spec_id), spec_id) for (spec_id,) in spec_ids],
    )


def _spec_holder(spec_id: int) -> bytes:
    return spec_id.to_bytes(SPEC_HOLDER_BYTES, "big")
