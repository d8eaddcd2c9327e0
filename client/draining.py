"""How does one wait until nothing is left on nodes that were drained?"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from ..protocol.errors import Conflict
from . import control
from .connection import Connection

LOOK_S = 0.5
Look = dict[str, dict[str, Any]]
"""What one look saw: the rows of the nodes by name, without those that were forgotten."""


def wait_drained(
    link: Connection, names: Sequence[str], on_look: Callable[[Look], None] | None = None
) -> None:
    """Wait until no task is left on any of these nodes; `on_look` hears of each look.

    A node that is forgotten has nothing left. Raises Conflict when one gets work again.
    """
    while True:
        rows = {row["name"]: row for row in control.list_nodes(link)}
        look = {name: rows[name] for name in names if name in rows}
        if on_look is not None:
            on_look(look)
        if not any(map(left_on, look.values())):
            return
        for name, row in look.items():
            if not row.get("drain"):
                raise Conflict(f"{name} was undrained while its end was waited for", field="node")
        time.sleep(LOOK_S)


def left_on(row: dict[str, Any]) -> int:
    """Count the tasks that a node has not let go."""
    return int(row.get("running", 0)) + int(row.get("backlog", 0))
