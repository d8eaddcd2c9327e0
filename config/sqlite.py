"""How does SQLite behave wherever something must survive a crash: the one place that sets it."""

from __future__ import annotations

from pathlib import Path

import apsw

BUSY_MS = 2_000
CACHE_KIB = 8 * 1024


def connect(
    path: Path, *, read_only: bool = False, cache_kib: int = CACHE_KIB, autocheckpoint: bool = True
) -> apsw.Connection:
    """Open a database: WAL, synced with every commit, its memory bounded.

    Without `autocheckpoint` the owner moves the log into the database itself.
    """
    flags = apsw.SQLITE_OPEN_READONLY if read_only else (
        apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    )  # fmt: skip
    connection = apsw.Connection(str(path), flags=flags)
    connection.set_busy_timeout(BUSY_MS)
    if read_only:
        connection.execute("PRAGMA query_only = ON")
    else:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        if not autocheckpoint:
            connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute(f"PRAGMA cache_size = -{cache_kib}")
    connection.execute("PRAGMA mmap_size = 0")
    return connection


def problems_of(path: Path) -> list[str]:
    """Let SQLite look through a whole file for damage, as `damage_in` does for a connection."""
    connection = connect(path, read_only=True)
    try:
        return damage_in(connection)
    finally:
        connection.close()


def damage_in(connection: apsw.Connection) -> list[str]:
    """Let SQLite look through a database for damage; return what it found, at most 20 lines.

    Reads every page: seconds for each GiB, unless a progress handler ends it. A file in use may be
    looked at. Raises `apsw.Error` for what is no database at all.
    """
    found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(20)")]
    return [] if found == ["ok"] else found
