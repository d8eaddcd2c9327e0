"""What is this node called: as it was told, as its line says, as it joined, or as its host?"""

from __future__ import annotations

import platform

from ..config.credentials import NODE, handed_over
from ..config.home import Home
from ..config.invitation import Invitation
from ..config.keys import load_identity
from ..config.settings import Settings
from ..config.settings_node import NodeSettings
from ..protocol.errors import Invalid


def name_of(home: Home, settings: Settings) -> str:
    """Return what this node is called: as configured, else as its key says, else as its host."""
    if settings.node.name:
        return settings.node.name
    if path := handed_over(NODE):
        return load_identity(path).name
    own = platform.node()
    keys = sorted(home.keys_dir.glob("node-*.key"))
    if len(keys) == 1:
        return keys[0].stem.removeprefix("node-")
    return own


def name_by_line(node: NodeSettings, invitation: Invitation) -> str:
    """Return the name to join under; raises Invalid when two are given."""
    if node.name and invitation.name and node.name != invitation.name:
        raise Invalid(
            f"this line is for the node {invitation.name}, and this one is to be called "
            f"{node.name}: leave --name and [node] name out, or ask for a line with that name",
            field="name",
        )
    return invitation.name or node.name or platform.node()
