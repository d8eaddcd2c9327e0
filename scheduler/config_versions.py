"""Which configurations were accepted: their rows in the journal, the newest thousand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import apsw

from ..config.applying import SCHEDULER, STORE
from ..config.changes import Change, Scoped, from_plain, to_plain
from ..protocol.codec import pack_document, unpack_document
from .records import ConfigRow

VERSIONS_KEPT = 1_000
RECORDED = (SCHEDULER, STORE)
"""The daemons of the scheduler's host, whose files a version remembers."""
_ROW = "SELECT version, at_ms, author, cause, request_key, body FROM config_versions"


class Difference(NamedTuple):
    """One value that differs: of a node alone or ("") of all; as text, None where nothing says."""

    node: str
    key: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Version:
    """An accepted configuration.

    `values` are those that `readers` read and that differ from the packaged ones, as text, of the
    files beside the scheduler; `reloads` counts how often others were told to read theirs again.
    """

    number: int
    at_ms: int
    author: str
    cause: str
    request_key: bytes = b""
    values: Mapping[str, str] = field(default_factory=dict)
    changes: Scoped = field(default_factory=dict)
    differences: Sequence[Difference] = ()
    reloads: int = 0
    notes: Sequence[str] = ()
    readers: Sequence[str] = RECORDED

    def to_row(self) -> ConfigRow:
        body = {
            "values": dict(self.values),
            "changes": {scope: to_plain(inner) for scope, inner in self.changes.items()},
            "differences": [list(each) for each in self.differences],
            "reloads": self.reloads,
            "notes": list(self.notes),
            "readers": list(self.readers),
        }
        return ConfigRow(
            self.number, self.at_ms, self.author, self.cause, self.request_key, pack_document(body)
        )


class ConfigVersions:
    """Reads versions; one is never changed once it is written."""

    def __init__(self, reader: apsw.Connection) -> None:
        self._db = reader

    def newest(self) -> Version | None:
        return self._one(f"{_ROW} ORDER BY version DESC LIMIT 1", ())

    def find(self, number: int) -> Version | None:
        return self._one(f"{_ROW} WHERE version = ?", (number,))

    def asked(self, author: str, request_key: bytes) -> Version | None:
        """Return the version that a request made, if it came before."""
        where = "author = ? AND request_key = ? AND request_key != x''"
        return self._one(f"{_ROW} WHERE {where}", (author, request_key))

    def page(self, below: int, limit: int) -> list[Version]:
        """Return versions older than `below`, newest first."""
        rows = self._db.execute(
            f"{_ROW} WHERE version < ? ORDER BY version DESC LIMIT ?", (below, limit)
        )
        return [_version(row) for row in rows]

    def count(self) -> int:
        ((number,),) = self._db.execute("SELECT count(*) FROM config_versions")
        return int(number)

    def oldest(self) -> int:
        ((number,),) = self._db.execute("SELECT coalesce(min(version), 0) FROM config_versions")
        return int(number)

    def _one(self, query: str, values: tuple[Any, ...]) -> Version | None:
        row = self._db.execute(query, values).fetchone()
        return None if row is None else _version(row)


def write_versions(connection: apsw.Connection, rows: Sequence[ConfigRow]) -> None:
    """Append versions; the oldest go at the bound."""
    connection.executemany(
        "INSERT INTO config_versions (version, at_ms, author, cause, request_key, body)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        rows,
    )
    newest = rows[-1].version
    connection.execute("DELETE FROM config_versions WHERE version <= ?", (newest - VERSIONS_KEPT,))


def _version(row: Sequence[Any]) -> Version:
    number, at_ms, author, cause, request_key, blob = row
    body = unpack_document(blob)
    changes: dict[str, dict[str, Change]] = {
        scope: from_plain(inner) for scope, inner in body["changes"].items()
    }
    return Version(
        number,
        at_ms,
        author,
        cause,
        bytes(request_key),
        body["values"],
        changes,
        [Difference(*each) for each in body["differences"]],
        body["reloads"],
        body["notes"],
        body.get("readers", [SCHEDULER]),  # older releases kept what the scheduler reads, no more
    )
