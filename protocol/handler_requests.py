"""What clients ask and change about named handlers, on the control channel."""

from __future__ import annotations

from dataclasses import dataclass

from .message import Message


@dataclass(slots=True)
class ListHandlers(Message):
    """List the named handlers with each node that has them; `name`: that one, `node`: there."""

    TYPE = 49
    SINCE = 5
    name: str = ""
    node: str = ""


@dataclass(slots=True)
class SwitchHandler(Message):
    """Give a handler no new calls on a node ("": on any) until it is switched on again.

    `on` lifts that; without a node wherever it was. Without a reason a known one stays.
    """

    TYPE = 50
    SINCE = 5
    handler: str
    node: str = ""
    on: bool = False
    reason: str = ""


@dataclass(slots=True)
class ReloadHandler(Message):
    """End the workers of a handler after the calls that run, and load it anew.

    The answer is a document: `nodes` by name the `reload` that each is to confirm, which
    ListHandlers shows as `reloaded` then; `passed_over` by name why a node is not asked.
    """

    TYPE = 51
    SINCE = 5
    handler: str
    node: str = ""
