"""What does the store know of its objects? Questions to the index, and how its file is opened."""

from __future__ import annotations

import importlib.resources
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import apsw

from ..config import sqlite
from ..protocol.errors import RemudaError
from .rows import Row

SCHEMA_VERSION = 1
CACHE_KIB = 4 * 1024


class IndexFailed(RemudaError):  # noqa: N818 - the public names read as outcomes
    """The index cannot be opened; the message says why and what to do."""

    code = "index"


class Totals(NamedTuple):
    """How much is kept: altogether, and by who has put it."""

    objects: int
    bytes: int
    by_name: Counter[str]


class Index:
    """Answers from a connection of its own that only reads."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._db = connection

    def find(self, digest: bytes) -> Row | None:
        row = self._db.execute(
            "SELECT id, digest, size, tree, keep_until_ms FROM objects WHERE digest = ?", (digest,)
        ).fetchone()
        return None if row is None else _row(row)

    def is_owner(self, object_id: int, name: str) -> bool:
        """Tell whether somebody has put the bytes of an object."""
        found = self._db.execute(
            "SELECT 1 FROM owners WHERE object = ? AND name = ?", (object_id, name)
        )
        return found.fetchone() is not None

    def is_member(self, tree_digest: bytes, member_id: int) -> bool:
        """Tell whether a tree that is kept names an object."""
        found = self._db.execute(
            "SELECT 1 FROM members WHERE member = ?"
            " AND tree = (SELECT id FROM objects WHERE digest = ?)",
            (member_id, tree_digest),
        )
        return found.fetchone() is not None

    def due(self, now_ms: int, limit: int) -> list[Row]:
        """Return objects that nothing promises to keep, those due longest first.

        What a tree names is not among them: it becomes due when the tree has gone.
        """
        rows = self._db.execute(
            "SELECT id, digest, size, tree, keep_until_ms FROM objects WHERE keep_until_ms < ?"
            " AND NOT EXISTS (SELECT 1 FROM members WHERE member = objects.id)"
            " ORDER BY keep_until_ms LIMIT ?",
            (now_ms, limit),
        )
        return [_row(row) for row in rows]

    def claimed(self, now_ms: int) -> int:
        """Count the objects that a claim keeps: fresh ones, and those lately found referred to."""
        ((count,),) = self._db.execute(
            "SELECT count(*) FROM objects WHERE keep_until_ms >= ?", (now_ms,)
        )
        return int(count)

    def digests(self) -> Iterator[bytes]:
        return (row[0] for row in self._db.execute("SELECT digest FROM objects"))

    def totals(self) -> Totals:
        ((objects, size),) = self._db.execute(
            "SELECT count(*), coalesce(sum(size), 0) FROM objects"
        )
        by_name = self._db.execute(
            "SELECT name, sum(size) FROM owners JOIN objects ON id = object GROUP BY name"
        )
        return Totals(objects, size, Counter(dict(by_name)))

    def close(self) -> None:
        self._db.close()


def owners_of(db: apsw.Connection, object_ids: Sequence[int]) -> dict[int, list[str]]:
    """Return who has put these objects."""
    found: dict[int, list[str]] = {}
    for each in object_ids:
        rows = db.execute("SELECT name FROM owners WHERE object = ?", (each,))
        found[each] = [name for (name,) in rows]
    return found


def connect(path: Path, *, read_only: bool = False) -> apsw.Connection:
    """Open the file of the index."""
    return sqlite.connect(path, read_only=read_only, cache_kib=CACHE_KIB)


def open_index(path: Path) -> apsw.Connection:
    """Open the index for writing, made where there is none; raises IndexFailed."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    try:
        connection = connect(path)
        version = int(connection.pragma("user_version"))
        if version == 0:
            script = importlib.resources.files(__package__).joinpath("schema.sql")
            with connection:
                connection.execute(script.read_text("utf-8"))
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    except apsw.Error as error:
        raise IndexFailed(
            f"cannot open {path}: {error}; if it is damaged, move the store's folder away: "
            "clients and nodes put again what they still have"
        ) from error
    if version > SCHEMA_VERSION:
        raise IndexFailed(
            f"the index has schema {version}, this remuda knows {SCHEMA_VERSION}: upgrade remuda"
        )
    return connection


def _row(row: tuple[int, bytes, int, int, int]) -> Row:
    return Row(row[0], row[1], row[2], bool(row[3]), row[4])
