"""What can be asked and changed of a cluster's named handlers: a function for each request."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ..protocol.messages import (
    Document,
    Done,
    ListHandlers,
    Page,
    ReloadHandler,
    SwitchHandler,
)
from .connection import Connection

LOOK_S = 0.5
Row = Mapping[str, Any]
_NOT_YET = ("loading", "leaving")


def list_handlers(link: Connection, name: str = "", node: str = "") -> list[dict[str, Any]]:
    """List handlers with the nodes that have them; raises NotFound for a name that is not there."""
    return link.request(ListHandlers(name, node), Page).rows


def disable(link: Connection, handler: str, *, node: str = "", reason: str = "") -> str:
    """Give a handler no new calls on a node, or on any; return what was done."""
    return link.request(SwitchHandler(handler, node, on=False, reason=reason), Done).message


def enable(link: Connection, handler: str, *, node: str = "") -> str:
    """Give a handler calls again; return what was done."""
    return link.request(SwitchHandler(handler, node, on=True), Done).message


def reload(link: Connection, handler: str, *, node: str = "") -> tuple[dict[str, int], Row]:
    """Have a handler loaded anew; return what each node is to confirm, and why others are not."""
    body = link.request(ReloadHandler(handler, node), Document).body
    return dict(body["nodes"]), dict(body["passed_over"])


def wait_reloaded(
    link: Connection,
    handler: str,
    asked: Mapping[str, int],
    on_look: Callable[[dict[str, Row]], None] | None = None,
    timeout_s: float | None = None,
) -> dict[str, Row]:
    """Wait until each node has confirmed its reload and loaded what it loads; return its rows.

    `on_look` hears of each look. Raises TimeoutError that names the nodes that are not done.
    """
    until = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        (row,) = list_handlers(link, handler) or [{"nodes": []}]
        found = {each["node"]: each for each in row["nodes"] if each["node"] in asked}
        if on_look is not None:
            on_look(found)
        left = [name for name in asked if name in found and not is_done(found[name], asked[name])]
        if not left:
            return found
        if until is not None and time.monotonic() >= until:
            raise TimeoutError(
                f"{', '.join(left)} did not confirm the reload of {handler} within {timeout_s:g} s"
            )
        time.sleep(LOOK_S)


def is_done(row: Row, number: int) -> bool:
    """Tell whether a node has done a reload, or will not."""
    if row["state"] in ("away", "disabled", "unavailable"):
        return True
    return bool(row["reloaded"] >= number and row["state"] not in _NOT_YET)


class HandlerVerbs:
    """The verbs of a client about named handlers."""

    link: Connection

    def handlers(self, name: str = "", *, node: str = "") -> list[dict[str, Any]]:
        """List the named handlers: where declared, on which nodes, loaded, calls, VRAM."""
        return list_handlers(self.link, name, node)

    def disable_handler(self, name: str, *, node: str = "", reason: str = "") -> str:
        """Give a handler no new calls on a node, or on any, until it is enabled; what runs ends."""
        return disable(self.link, name, node=node, reason=reason)

    def enable_handler(self, name: str, *, node: str = "") -> str:
        """Give a handler calls again; return what was done."""
        return enable(self.link, name, node=node)

    def reload_handler(
        self, name: str, *, node: str = "", timeout: float | None = None
    ) -> dict[str, dict[str, Any]]:
        """Have workers of a handler end after their calls and load anew: new code, new weights.

        Returns how the handler is on each node once all have confirmed; raises TimeoutError.
        """
        asked, _ = reload(self.link, name, node=node)
        found = wait_reloaded(self.link, name, asked, timeout_s=timeout)
        return {node: dict(row) for node, row in found.items()}
