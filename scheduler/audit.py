"""Who did what: one row per request that changed something, each chained to the one before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import apsw

from .records import AuditRow


def write_audit(connection: apsw.Connection, rows: Iterable[AuditRow]) -> None:
    """Append requests to the audit, each chained to the one before by BLAKE2."""
    last = connection.execute("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    seq, previous = last or (0, b"")
    for row in rows:
        seq += 1
        previous = _link(previous, seq, row)
        connection.execute(
            "INSERT INTO audit (seq, at_ms, principal, verb, subject, hash)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (seq, *row, previous),
        )


def _link(previous: bytes, seq: int, row: AuditRow) -> bytes:
    text = f"{seq}\x1f{row.at_ms}\x1f{row.principal}\x1f{row.verb}\x1f{row.subject}"
    return hashlib.blake2b(previous + text.encode(), digest_size=32).digest()


def first_broken_link(connection: apsw.Connection) -> int | None:
    """Return the number of the first row that was altered, or None when the chain holds."""
    previous = None
    for seq, at_ms, principal, verb, subject, found in connection.execute(
        "SELECT seq, at_ms, principal, verb, subject, hash FROM audit ORDER BY seq"
    ):
        if previous is None and seq != 1:
            previous = found
            continue
        expected = _link(previous or b"", seq, AuditRow(at_ms, principal, verb, subject))
        if found != expected:
            return int(seq)
        previous = found
    return None
