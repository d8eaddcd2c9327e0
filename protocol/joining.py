"""How a newcomer gets in: an admin invites, and whoever is invited enrols a key of its own."""

from __future__ import annotations

from dataclasses import dataclass

from .message import Message


@dataclass(slots=True)
class Invite(Message):
    """Let whoever has the secret half of `public_key` enrol once, within `valid_ms` from now.

    With an empty `name` the newcomer chooses one that nobody ever had. An invitation replaces the
    one before for the same name. The answer is a document: `name`, `role`, `cluster`, `listen`,
    `expires_ms` (a wall time) and `replaced`.
    """

    TYPE = 28
    SINCE = 3
    name: str
    role: str
    public_key: str
    valid_ms: int


@dataclass(slots=True)
class Enrol(Message):
    """Admit `public_key` as an invitation says; sent with its one-time key.

    Whose key is admitted already is told the same again; so a node asks with its own key as well.
    The answer is a document: `name`, `role`, `cluster`, `version`, `wall_ms` (the scheduler's
    clock), `protocol_min` and `protocol_max`, and for a node `ports` by channel.
    """

    TYPE = 29
    SINCE = 3
    name: str
    role: str
    public_key: str
