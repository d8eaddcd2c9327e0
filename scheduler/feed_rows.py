"""What is one row of the feed, and who wants and may read which rows?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..protocol import ids
from ..protocol.errors import Invalid
from .happenings import Happening

KINDS_MAX = 32


class Row(NamedTuple):
    seq: int
    at_ms: int
    what: Happening


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows somebody wants and may have; empty: all. `owner` hides what is others'."""

    owner: str = ""
    node: str = ""
    task: int = 0
    batch: int = 0
    kinds: tuple[str, ...] = ()
    since_ms: int = 0

    def has(self, row: Row) -> bool:
        """Tell whether a row is wanted; a kind `node` means all kinds `node.*`."""
        what = row.what
        return (
            row.at_ms >= self.since_ms
            and (not self.owner or what.owner in ("", self.owner))
            and (not self.node or what.node == self.node)
            and (not self.task or what.task == self.task)
            and (not self.batch or what.batch == self.batch)
            and (not self.kinds or _is_of(what.kind, self.kinds))
        )


def _is_of(kind: str, wanted: tuple[str, ...]) -> bool:
    return kind in wanted or kind.partition(".")[0] in wanted


def document(row: Row) -> dict[str, Any]:
    """Write a row as a document."""
    what = row.what
    return {
        "seq": row.seq,
        "at_ms": row.at_ms,
        "kind": what.kind,
        "level": what.level,
        "text": what.text,
        "node": what.node,
        "task": ids.to_bytes(what.task) if what.task else b"",
        "batch": ids.to_bytes(what.batch) if what.batch else b"",
        "owner": what.owner,
        "attempt": what.attempt,
        "code": what.code,
    }


_TYPES = {"node": str, "task": bytes, "batch": bytes, "kinds": list, "since_ms": int}


def read_wanted(filters: Mapping[str, Any], owner: str) -> Wanted:
    """Read the filters of a request; raises Invalid."""
    for name, value in filters.items():
        if name not in _TYPES:
            known = ", ".join(_TYPES)
            raise Invalid(f"filters.{name}: there is no such filter: {known}", field="filters")
        if type(value) is not _TYPES[name]:
            raise Invalid(f"filters.{name}: found {value!r}", field=f"filters.{name}")
    kinds = filters.get("kinds", [])
    if len(kinds) > KINDS_MAX or not all(type(kind) is str for kind in kinds):
        raise Invalid(f"filters.kinds: at most {KINDS_MAX} texts", field="filters.kinds")
    try:
        read = {
            name: ids.from_bytes(filters[name]) for name in ("task", "batch") if name in filters
        }
    except ValueError as error:
        raise Invalid(f"filters: {error}", field="filters") from error
    return Wanted(
        owner,
        filters.get("node", ""),
        read.get("task", 0),
        read.get("batch", 0),
        tuple(kinds),
        filters.get("since_ms", 0),
    )
