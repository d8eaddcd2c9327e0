"""Who may connect where: the live keys, and the verdict on each ZAP request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from zmq.utils import z85

from .access import Principal, Role

CONTROL_DOMAIN = "control"
UPLINK_DOMAIN = "uplink"
HEARTBEAT_DOMAIN = "heartbeat"
BEACON_DOMAIN = "beacon"
NODE_DOMAIN = "node:"
KEY_BYTES = 32
_NODES_ONLY = frozenset({UPLINK_DOMAIN, HEARTBEAT_DOMAIN, BEACON_DOMAIN})
_VERSION = b"1.0"


@dataclass(slots=True)
class Keys:
    """The keys that are live now, by their public half (Z85).

    `User-Id` of every frame is the public key itself: a name that is given to a new key never
    revives sessions of the old one. `invited` are the one-time keys of invitations, also of those
    that are over: their holders are told so.
    """

    live: dict[str, Principal] = field(default_factory=dict)
    invited: dict[str, Principal] = field(default_factory=dict)
    changes: int = 0

    def allow(self, public_key: str, principal: Principal) -> None:
        self.live[public_key] = replace(principal, key=public_key)
        self.changes += 1

    def revoke(self, name: str) -> None:
        """Forget all keys under a name; their open sessions count for nothing from now on."""
        for public_key in [key for key, who in self.live.items() if who.name == name]:
            del self.live[public_key]
        self.changes += 1

    def of_node(self, name: str) -> str:
        """Return the public key of a node; "" when none has that name."""
        found = (key for key, who in self.live.items() if (who.role, who.name) == (Role.NODE, name))
        return next(found, "")

    def holder(self, public_key: str) -> Principal | None:
        """Return who speaks with a key on control."""
        return self.live.get(public_key) or self.invited.get(public_key)

    def may_connect(self, public_key: str, domain: str) -> bool:
        """Decide a handshake: any live key on control, nodes elsewhere, one node on its pipe.

        An invitation's key is let in on control alone.
        """
        who = self.holder(public_key)
        if who is None:
            return False
        if domain == CONTROL_DOMAIN:
            return True
        if who.role is not Role.NODE:
            return False
        return domain in _NODES_ONLY or domain == NODE_DOMAIN + who.name


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one handshake: the frames to send, and what to log if it was refused."""

    frames: list[bytes]
    accepted: bool
    public_key: str
    domain: str
    address: str


def judge(frames: Sequence[bytes], keys: Keys) -> Verdict | None:
    """Answer one ZAP request (without routing frames); None when it is no request at all."""
    if len(frames) < 6 or frames[0] != _VERSION:
        return None
    request, domain = frames[1], frames[2].decode("utf-8", "replace")
    address, mechanism = frames[3].decode("utf-8", "replace"), frames[5]
    public_key = ""
    if mechanism == b"CURVE" and len(frames) == 7 and len(frames[6]) == KEY_BYTES:
        public_key = z85.encode(frames[6]).decode("ascii")
    accepted = keys.may_connect(public_key, domain)
    status = (b"200", b"OK") if accepted else (b"400", b"this key is not admitted here")
    reply = [_VERSION, request, *status, public_key.encode() if accepted else b"", b""]
    return Verdict(reply, accepted, public_key, domain, address)
