"""As which user of this host does the work of an owner run, and what of it is refused?

Commands run as the user that `[node.run_as]` gives to their owner. Handlers are the operator's
code: they run as the agent's own user, whoever calls them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

CODE = "owner_refused"


@dataclass(frozen=True, slots=True)
class AsWhom:
    """What the settings say; without `users` all work is the agent's own.

    `helper` is the socket of what starts tasks as others. `obstacle` says why none can be started
    here now.
    """

    users: Mapping[str, str] = field(default_factory=dict)
    others: Literal["refuse", "agent"] = "refuse"
    helper: str = ""
    obstacle: str = ""

    def user_of(self, owner: str, kind: str) -> str:
        """Return as whom the work of an owner runs; empty: as the agent's own user."""
        return self.users.get(owner, "") if kind == "command" else ""

    def refusal(self, owner: str, kind: str) -> str:
        """Say why this node does not run an owner's work, or nothing."""
        if not self.users or kind == "handler":
            return ""
        user = self.users.get(owner)
        if user is None:
            if self.others == "agent":
                return ""
            return f"this node runs nothing for owner {owner!r}: [node.run_as] names no user for it"
        if kind != "command":
            return (
                f"this node runs what is of owner {owner!r} as user {user!r}, which it can do with "
                "commands alone: submit it as a command, or name nodes without [node.run_as]"
            )
        return self.obstacle
