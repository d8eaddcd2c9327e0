"""Which invitations are there: their one-time keys in the journal, until they are long over."""

from __future__ import annotations

from typing import NamedTuple

import apsw

from ..config.keys import fingerprint
from ..protocol.errors import QueueFull
from .access import Principal, Role
from .audit import write_audit
from .records import AuditRow
from .room import Room

PENDING_MAX = 1_000
KEPT_MS = 7 * 24 * 3_600_000
"""How long whoever comes with a line that is over is told what became of it."""

_ROW = (
    "SELECT public_key, name, role, principal, created_ms, expires_ms, withdrawn_ms, spent_ms,"
    " spent_by FROM invites"
)
_INSERT = (
    "INSERT INTO invites (public_key, name, role, principal, created_ms, expires_ms, withdrawn_ms,"
    " spent_ms, spent_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class InviteRow(NamedTuple):
    """An invitation, by the public half of its one-time key; a time of 0: it did not happen."""

    public_key: str
    name: str
    role: str
    principal: str
    created_ms: int
    expires_ms: int
    withdrawn_ms: int = 0
    spent_ms: int = 0
    spent_by: str = ""

    @property
    def label(self) -> str:
        """Return what it is listed and withdrawn by: its name, else its fingerprint."""
        return self.name or fingerprint(self.public_key)

    def is_pending(self, now_ms: int) -> bool:
        """Tell whether somebody may enrol with it."""
        return not (self.withdrawn_ms or self.spent_ms) and now_ms < self.expires_ms


class Invites:
    """The invitations in the journal; each change is a commit of its own."""

    def __init__(self, connection: apsw.Connection, room: Room) -> None:
        self._db = connection
        self._room = room

    def all(self) -> list[InviteRow]:
        """Return all that are kept, over or not, the oldest first."""
        rows = self._db.execute(f"{_ROW} ORDER BY created_ms, public_key")
        return [InviteRow(*row) for row in rows]

    def pending(self, now_ms: int) -> list[InviteRow]:
        return [row for row in self.all() if row.is_pending(now_ms)]

    def find(self, public_key: str) -> InviteRow | None:
        found = self._db.execute(f"{_ROW} WHERE public_key = ?", (public_key,))
        row = found.fetchone()
        return None if row is None else InviteRow(*row)

    def principals(self) -> dict[str, Principal]:
        """Return who speaks with each one-time key; they have no name but the key."""
        keys = [row.public_key for row in self.all()]
        return {key: Principal(key, Role.INVITED, key) for key in keys}

    def add(self, row: InviteRow) -> int:
        """Keep an invitation; return how many for the same name it replaces. Raises QueueFull."""
        now_ms = row.created_ms
        if len(self.pending(now_ms)) >= PENDING_MAX:
            raise QueueFull(f"{PENDING_MAX} invitations are pending: withdraw some (`key revoke`)")

        def write() -> int:
            self._db.execute("DELETE FROM invites WHERE expires_ms < ?", (now_ms - KEPT_MS,))
            replaced = self._withdraw("name = ? AND name <> ''", row.name, now_ms)
            self._db.execute(_INSERT, row)
            subject = f"{row.label} as {row.role}"
            write_audit(self._db, [AuditRow(now_ms, row.principal, "key invite", subject)])
            return replaced

        return self._room.write(self._db, write)

    def withdraw(self, label: str, *, principal: str, now_ms: int) -> int:
        """Withdraw what is pending under a name or a fingerprint; return how many that were."""
        keys = [row.public_key for row in self.pending(now_ms) if row.label == label]

        def write() -> int:
            for key in keys:
                self._withdraw("public_key = ?", key, now_ms)
            write_audit(self._db, [AuditRow(now_ms, principal, "key uninvite", label)])
            return len(keys)

        return self._room.write(self._db, write) if keys else 0

    def withdraw_of(self, principal: str, now_ms: int) -> None:
        """Withdraw what somebody gave out who may no longer; part of a transaction."""
        self._withdraw("principal = ?", principal, now_ms)

    def spend(self, public_key: str, spent_by: str, now_ms: int) -> None:
        """Note that a key was admitted with an invitation; part of the transaction that does so."""
        self._db.execute(
            "UPDATE invites SET spent_ms = ?, spent_by = ? WHERE public_key = ? AND spent_ms = 0",
            (now_ms, spent_by, public_key),
        )
        assert self._db.changes(), "an invitation was spent twice"

    def _withdraw(self, which: str, value: str, now_ms: int) -> int:
        self._db.execute(
            f"UPDATE invites SET withdrawn_ms = ? WHERE {which}"  # noqa: S608 - our own words
            " AND withdrawn_ms = 0 AND spent_ms = 0 AND expires_ms > ?",
            (now_ms, value, now_ms),
        )
        return int(self._db.changes())
