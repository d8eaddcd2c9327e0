"""How is the store of a cluster? Asked at the store itself, which the scheduler names."""

from __future__ import annotations

from typing import Any

from ..config import cluster as clusters
from ..protocol.errors import Conflict, Unreachable
from ..protocol.messages import Document, FindStore
from ..transfer import Mover
from .connection import Connection

PATIENCE_S = 5.0


def store_state(link: Connection) -> dict[str, Any]:
    """Return how full the store is and what it does; raises Unreachable where none runs."""
    try:
        port = link.request(FindStore(), Document).body["port"]
    except Conflict as error:
        raise Unreachable(error.message) from error
    dial = clusters.connection(link.ref)
    address = f"{link.endpoint.rpartition(':')[0]}:{port}"
    with Mover(address, dial.key, dial.scheduler_public, patience_s=PATIENCE_S) as mover:
        return mover.state()
