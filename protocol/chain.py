"""How is each row of the audit tied to the one before, so that whoever reads it can check it?"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

HASH_BYTES = 32
START = b""
"""What the first row of all is tied to."""


class Link(NamedTuple):
    """A place in the chain: the number of a row and its hash. Row 0 is before the first."""

    seq: int
    hash: bytes


def link(previous: bytes, seq: int, at_ms: int, principal: str, verb: str, subject: str) -> bytes:
    """Return the hash of a row, given that of the row before it."""
    text = f"{seq}\x1f{at_ms}\x1f{principal}\x1f{verb}\x1f{subject}"
    return hashlib.blake2b(previous + text.encode(), digest_size=HASH_BYTES).digest()


def follow(last: Link, row: dict[str, Any]) -> tuple[Link, str]:
    """Return the place of the row after `last`, and what is wrong with it (nothing: it is sound).

    A row is a document with `seq`, `at_ms`, `principal`, `verb`, `subject` and `hash`.
    """
    seq, found = int(row["seq"]), bytes(row["hash"])
    expected = link(
        last.hash, seq, int(row["at_ms"]), row["principal"], row["verb"], row["subject"]
    )
    if seq != last.seq + 1:
        return Link(seq, found), f"row {last.seq + 1} is missing: row {seq} comes after {last.seq}"
    if found != expected:
        return Link(seq, found), f"row {seq} was altered, or a row before it"
    return Link(seq, found), ""
