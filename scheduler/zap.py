"""Who may connect where: the live keys, and which channel is whose."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .access import Principal, Role

CONTROL_DOMAIN = "control"
UPLINK_DOMAIN = "uplink"
HEARTBEAT_DOMAIN = "heartbeat"
BEACON_DOMAIN = "beacon"
NODE_DOMAIN = "node:"
_NODES_ONLY = frozenset({UPLINK_DOMAIN, HEARTBEAT_DOMAIN, BEACON_DOMAIN})


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
