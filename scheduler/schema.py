"""Which schema has a journal, which remuda may open it, and how is it brought to the newest?

Schemas only add: tables, and columns with a default. So a remuda that knows the schema before
writes a journal of this one as well, and going back to it takes no restore. The journal says both:
`meta.schema` is what it has, `user_version` the oldest schema whose remuda may open it. (Before
schema 5 they were the same, and `user_version` is what those remudas look at.)
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping

import apsw

from ..protocol.errors import RemudaError

SCHEMA_VERSION = 5
"""`schema.sql` is version 1; `schema_N.sql` brings a journal from the version before to N."""

OPENED_SINCE: Mapping[int, int] = {5: 4}
"""The oldest schema whose remuda may open a journal of this one; else it is this one itself."""

SCHEMA_KEY = "schema"
JOURNAL_FILE = "journal.db"


class JournalError(RemudaError):
    """The journal cannot be opened; the message says why and what to do."""

    code = "journal"


def version_of(connection: apsw.Connection) -> int:
    """Return the schema that a journal has; 0: it is empty."""
    oldest = opened_since(connection)
    if not oldest:
        return 0
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (SCHEMA_KEY,)).fetchone()
    return max(oldest, int(row[0])) if row else oldest


def opened_since(connection: apsw.Connection) -> int:
    """Return the oldest schema whose remuda may open this journal."""
    return int(connection.pragma("user_version"))


def check_can_open(connection: apsw.Connection, newest: int = SCHEMA_VERSION) -> None:
    """Raise JournalError for a journal that needs a newer remuda than this one."""
    oldest = opened_since(connection)
    if oldest > newest:
        raise JournalError(
            f"the journal has schema {version_of(connection)}, which needs a remuda that knows "
            f"schema {oldest}; this remuda knows {newest}: upgrade remuda, or restore a backup "
            "made by this version"
        )


def migrate(
    connection: apsw.Connection,
    migrations: Mapping[int, str] | None = None,
    *,
    to: int | None = None,
    since: Mapping[int, int] = OPENED_SINCE,
) -> None:
    """Bring a journal to a schema (None: the newest), one committed step at a time.

    One that a newer remuda wrote, and lets this one open, stays as it is. Raises JournalError
    when it does not.
    """
    steps = migrations or {}
    newest = max([SCHEMA_VERSION, *steps])
    check_can_open(connection, newest)
    version = version_of(connection)
    while version < (newest if to is None else to):
        version += 1
        script = steps[version] if version in steps else _script(version)
        with connection:
            connection.execute(script)
            _note(connection, version, since.get(version, version))


def demand(connection: apsw.Connection, oldest: int) -> None:
    """Let only remudas open this journal that know a schema: it has what others would overlook."""
    connection.execute(f"PRAGMA user_version = {oldest}")


def undemand(connection: apsw.Connection) -> None:
    """Take back what was demanded."""
    version = version_of(connection)
    connection.execute(f"PRAGMA user_version = {OPENED_SINCE.get(version, version)}")


def _note(connection: apsw.Connection, version: int, oldest: int) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)",
        (SCHEMA_KEY, str(version).encode()),
    )
    connection.execute(f"PRAGMA user_version = {oldest}")


def _script(version: int) -> str:
    name = "schema.sql" if version == 1 else f"schema_{version}.sql"
    return importlib.resources.files(__package__).joinpath(name).read_text("utf-8")
