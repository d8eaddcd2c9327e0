"""Who may speak and where nodes are reached: keys with their roles, and the nodes' ports."""

from __future__ import annotations

from typing import NamedTuple

import apsw

from ..protocol.errors import Conflict
from .audit import write_audit
from .invites import Invites
from .records import AuditRow
from .room import Room

_KEYS = "SELECT name, role, public_key, created_ms, revoked_ms FROM keys ORDER BY name"


class KeyRow(NamedTuple):
    """A public key (Z85) under a name and a role; `revoked_ms` is 0 while it is good."""

    name: str
    role: str
    public_key: str
    created_ms: int
    revoked_ms: int


class Registry:
    """Keys, invitations and dispatch ports in the journal; each change is a commit of its own."""

    def __init__(self, connection: apsw.Connection, room: Room) -> None:
        self._db = connection
        self._room = room
        self.invites = Invites(connection, room)

    def keys(self) -> list[KeyRow]:
        """Return all keys, revoked ones included, by name."""
        return [KeyRow(*row) for row in self._db.execute(_KEYS)]

    def allow_key(
        self,
        name: str,
        role: str,
        public_key: str,
        *,
        principal: str,
        now_ms: int,
        invite: str = "",
    ) -> None:
        """Admit a key, and spend the invitation by which it came.

        Raises Conflict when the name or the key is taken.
        """
        for known in self.keys():
            if known.public_key == public_key:
                state = "revoked" if known.revoked_ms else "allowed"
                raise Conflict(
                    f"this key is known already as {known.name} ({state}): make a new one with "
                    "`remuda key new`"
                )
            if known.name == name and not known.revoked_ms:
                raise Conflict(f"the name {name} is taken: revoke it first or choose another")

        def write() -> None:
            self._db.execute("DELETE FROM keys WHERE name = ?", (name,))
            self._db.execute(
                "INSERT INTO keys (name, role, public_key, created_ms) VALUES (?, ?, ?, ?)",
                (name, role, public_key, now_ms),
            )
            verb = "key allow"
            if invite:
                verb = "key enrol"
                self.invites.spend(invite, public_key, now_ms)
            write_audit(self._db, [AuditRow(now_ms, principal, verb, f"{name} as {role}")])

        self._room.write(self._db, write)

    def revoke_key(self, name: str, *, principal: str, now_ms: int) -> bool:
        """Withdraw a key, and what it invited; return False when no good key has that name."""

        def write() -> bool:
            self._db.execute(
                "UPDATE keys SET revoked_ms = ? WHERE name = ? AND revoked_ms = 0", (now_ms, name)
            )
            if not self._db.changes():
                return False
            self.invites.withdraw_of(name, now_ms)
            write_audit(self._db, [AuditRow(now_ms, principal, "key revoke", name)])
            return True

        return self._room.write(self._db, write)

    def dispatch_port(self, node: str) -> int | None:
        """Return the durable port of a node's dispatch pipe, if it has one."""
        row = self._db.execute("SELECT port FROM ports WHERE node = ?", (node,)).fetchone()
        return None if row is None else int(row[0])

    def set_dispatch_port(self, node: str, port: int) -> None:
        """Keep a node's port; whoever had that port before loses it."""

        def write() -> None:
            self._db.execute("DELETE FROM ports WHERE port = ? OR node = ?", (port, node))
            self._db.execute("INSERT INTO ports (node, port) VALUES (?, ?)", (node, port))

        self._room.write(self._db, write)
