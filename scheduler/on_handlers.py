"""What operators do to handlers: disabled, enabled, loaded anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..protocol.errors import Conflict, NotFound, RemudaError
from ..protocol.messages import Document, Done, Failure
from . import handler_orders
from .events import Now, ReloadHandler, SwitchHandler
from .fleet import Node
from .handler_orders import EVERYWHERE, ORDERS_SINCE
from .records import AuditRow, Effects, HandlerRow, Note

if TYPE_CHECKING:
    from .core import Core

_ASKED_FOR = "no reason was given"


def on_switch(core: Core, event: SwitchHandler, now: Now, effects: Effects) -> None:
    """Give a handler no new calls on a node or anywhere, or lift that."""
    try:
        having = _having(core, event.handler, event.node)
        done = _enable(core, event, effects) if event.on else _disable(core, event, now, effects)
    except RemudaError as error:
        effects.replies.append((event.request, Failure(error.code, error.message, error.field)))
        return
    handler_orders.changed(core)
    handler_orders.tell(core, effects)
    verb = "handler enable" if event.on else "handler disable"
    why = "" if event.on else f": {_row_of(core, event).reason}"
    _audit(effects, now, event.principal, verb, f"{event.handler} on {event.node or 'all'}{why}")
    facts: dict[str, object] = {"handler": event.handler, "by": event.principal}
    effects.notes.append(Note("info", verb, ({"node": event.node} if event.node else {}) | facts))
    calls = sum(node.seats.calls_of(event.handler) for node in having)
    if not event.on and calls:
        done += "; 1 call goes on" if calls == 1 else f"; {calls} calls go on"
    effects.replies.append((event.request, Done(done)))


def _disable(core: Core, event: SwitchHandler, now: Now, effects: Effects) -> str:
    known = core.handlers.rows.get((event.handler, event.node))
    row = known or HandlerRow(event.handler, event.node)
    reason = event.reason or row.reason or _ASKED_FOR
    since_ms = row.since_ms or now.wall_ms
    changed = row._replace(reason=reason, principal=event.principal, since_ms=since_ms)
    handler_orders.write(core, changed, effects)
    return f"handler {event.handler} gets no new calls on {event.node or 'any node'}"


def _enable(core: Core, event: SwitchHandler, effects: Effects) -> str:
    rows = [
        row
        for row in core.handlers.rows.values()
        if row.handler == event.handler and row.since_ms and event.node in ("", row.node)
    ]
    everywhere = core.handlers.switched_off(event.handler, EVERYWHERE)
    if event.node and everywhere is not None:
        raise Conflict(
            f"handler {event.handler} is disabled on all nodes, not on {event.node} alone: enable "
            "it without --node",
            field="node",
        )
    for row in rows:
        handler_orders.write(core, row._replace(since_ms=0, reason="", principal=""), effects)
    where = event.node or "all nodes"
    return (
        f"handler {event.handler} gets calls again on {where}"
        if rows
        else f"handler {event.handler} was not disabled on {event.node or 'any node'}"
    )


def on_reload(core: Core, event: ReloadHandler, now: Now, effects: Effects) -> None:
    """Have nodes end the workers of a handler after the calls that run, and load it anew."""
    try:
        having = _having(core, event.handler, event.node)
        if not having:
            raise NotFound(f"no node has the handler {event.handler} now", field="handler")
    except RemudaError as error:
        effects.replies.append((event.request, Failure(error.code, error.message, error.field)))
        return
    asked: dict[str, int] = {}
    passed_over: dict[str, str] = {}
    for node in having:
        if why := _not_now(node, event.handler):
            passed_over[node.name] = why
            continue
        known = core.handlers.rows.get((event.handler, node.name))
        row = known or HandlerRow(event.handler, node.name)
        number = max(now.wall_ms, row.reload + 1, node.handlers[event.handler].reloaded + 1)
        handler_orders.write(core, row._replace(reload=number), effects)
        asked[node.name] = number
        core.handlers.told.pop(node.name, None)
        handler_orders.remind(core, node, node.handler_orders, effects)
    subject = f"{event.handler} on {', '.join(asked) or 'no node'}"
    _audit(effects, now, event.principal, "handler reload", subject)
    answer = {"handler": event.handler, "nodes": asked, "passed_over": passed_over}
    effects.replies.append((event.request, Document(answer)))


def _not_now(node: Node, handler: str) -> str:
    """Say why a node is not asked to load a handler anew; empty when it is."""
    if node.lost or not node.connected:
        return "is lost" if node.lost else "has not registered since the scheduler started"
    if node.protocol < ORDERS_SINCE:
        return f"speaks protocol {node.protocol}, so it cannot be told: upgrade remuda there"
    if handler in node.disabled:
        return f"has it disabled: {node.disabled[handler]}"
    refused = node.handlers[handler].refused
    return f"cannot serve it: {refused}" if refused else ""


def _having(core: Core, handler: str, name: str) -> list[Node]:
    """Return the nodes that have a handler, or the one that is meant; raises NotFound."""
    nodes = core.fleet.nodes
    if name and name not in nodes:
        raise NotFound(f"there is no node {name}", field="node")
    having = [node for node in nodes.values() if handler in node.handlers]
    known = having or handler in core.handlers.declared
    if not known and not any(row.handler == handler for row in core.handlers.rows.values()):
        raise NotFound(
            f"there is no handler {handler}: `remuda handler list` shows those there are",
            field="handler",
        )
    if name and nodes[name] not in having:
        has = ", ".join(sorted(nodes[name].handlers)) or "none"
        raise NotFound(f"{name} has no handler {handler} (it has: {has})", field="node")
    return [node for node in having if name in ("", node.name)]


def _row_of(core: Core, event: SwitchHandler) -> HandlerRow:
    return core.handlers.rows[event.handler, event.node]


def _audit(effects: Effects, now: Now, principal: str, verb: str, subject: str) -> None:
    effects.commit.audit.append(AuditRow(now.wall_ms, principal, verb, subject))
