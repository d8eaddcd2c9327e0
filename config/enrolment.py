"""How does a newcomer become a member: make a key of its own and have it admitted?

The new key is on disk before anybody hears of it, beside the file that will hold the identity: a
crash, or an answer that is lost, leaves a key with which the same is asked again.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..protocol.errors import Conflict, NotAllowed, Refused, RemudaError
from ..protocol.messages import Document, Enrol
from .home import make_private_directory
from .invitation import ANOTHER_LINE, Invitation
from .keys import Identity, KeyPair, ensure_key_pair, load_identity, save_identity
from .knock import PATIENCE_S, Door, Heard, NotLetIn, knock

CHANNELS = ("control", "uplink", "heartbeat", "beacon", "dispatch", "store")


@dataclass(frozen=True, slots=True)
class Welcome:
    """What a scheduler tells a newcomer.

    `clock_ahead_ms` is by how much our clock is ahead of its, at least and at most; `ports` are
    those that a node needs, by channel.
    """

    name: str
    role: str
    cluster: str
    version: str
    protocol_min: int
    protocol_max: int
    clock_ahead_ms: tuple[int, int] = (0, 0)
    ports: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A newcomer that was admitted, and what it is told; `keep` makes it last."""

    identity: Identity
    welcome: Welcome
    path: Path

    def keep(self) -> None:
        """Write the identity; the key that waited beside it is no longer needed."""
        save_identity(self.path, self.identity)
        pending_file(self.path).unlink(missing_ok=True)


def pending_file(path: Path) -> Path:
    """Name the file of a key that is not an identity yet."""
    return path.with_name(f".{path.name}.joining")


def enrol(
    invitation: Invitation, name: str, path: Path, *, patience_s: float = PATIENCE_S
) -> Enrolled:
    """Have a key of our own admitted; its identity is for `path`, where `keep` writes it.

    Of an identity that is there for the same scheduler the key is tried first: who comes with the
    same line again is in already. Raises NotAllowed with what became of the line, Conflict for a
    name that is taken, Unreachable.
    """
    make_private_directory(path.parent)
    wanted = invitation.name or name
    known = _known_key(invitation, path)
    if known is not None:
        with contextlib.suppress(Refused, Conflict):
            return _enrol_key(invitation, wanted, path, known, patience_s)
    pending = pending_file(path)
    was_there = pending.exists()  # what became of that one was never heard: it may be let in yet
    pair = ensure_key_pair(pending)
    try:
        return _enrol_key(invitation, wanted, path, pair, patience_s)
    except (Refused, Conflict):
        if not was_there:
            pending.unlink(missing_ok=True)
        raise


def _known_key(invitation: Invitation, path: Path) -> KeyPair | None:
    if not path.exists():
        return None
    identity = load_identity(path)
    return identity.key if identity.scheduler_public == invitation.scheduler_public else None


def _enrol_key(
    invitation: Invitation, name: str, path: Path, pair: KeyPair, patience_s: float
) -> Enrolled:
    door = Door(invitation.endpoint, invitation.scheduler_public, invitation.one_time_key)
    try:
        heard = knock(door, Enrol(name, invitation.role, pair.public), patience_s=patience_s)
    except NotLetIn as error:
        raise NotAllowed(
            "the scheduler knows nothing of this line (any more): it is long over, or of a "
            f"cluster that was set up anew since: {ANOTHER_LINE}"
        ) from error
    welcome = read_welcome(heard)
    identity = Identity(
        welcome.name,
        welcome.role,
        pair,
        invitation.scheduler_public,
        invitation.endpoint,
        welcome.cluster,
        invitation.fingerprint,
    )
    return Enrolled(identity, welcome, path)


def ask_again(identity: Identity, control: str, *, patience_s: float = PATIENCE_S) -> Welcome:
    """Let a node that is admitted hear once more what a newcomer is told."""
    door = Door(control, identity.scheduler_public, identity.key)
    question = Enrol(identity.name, identity.role, identity.key.public)
    return read_welcome(knock(door, question, patience_s=patience_s))


def read_welcome(heard: Heard) -> Welcome:
    """Read the answer to an Enrol; raises RemudaError when it is none."""
    body: dict[str, Any] = heard.message.body if isinstance(heard.message, Document) else {}
    try:
        wall_ms = int(body["wall_ms"])
        ports = {name: int(body.get("ports", {}).get(name, 0)) for name in CHANNELS}
        return Welcome(
            name=str(body["name"]),
            role=str(body["role"]),
            cluster=str(body["cluster"]),
            version=str(body["version"]),
            protocol_min=int(body["protocol_min"]),
            protocol_max=int(body["protocol_max"]),
            clock_ahead_ms=(heard.sent_ms - wall_ms, heard.heard_ms - wall_ms),
            ports={name: port for name, port in ports.items() if port},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RemudaError(
            "the scheduler's answer is not the one to a newcomer: are both of the same version?"
        ) from error
