"""What is each node to do about handlers: which are declared for it, disabled, to be loaded anew?

Level-triggered: a node names the digest of the orders that it goes by in each heartbeat, and is
told again as long as that is another one. What operators disabled is journaled, and so is a reload
until its node has confirmed it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from ..protocol.capabilities import Handler
from ..protocol.codec import pack_document
from ..protocol.messages import HandlerOrders
from ..protocol.resources import Request
from ..protocol.selecting import Selector
from .fleet import Node
from .records import Effects, HandlerRow, Note, ToNode

if TYPE_CHECKING:
    from .core import Core

ORDERS_SINCE = 5
DIGEST_BYTES = 16
EVERYWHERE = ""
NO_ORDERS = b""
"""The digest of orders that order nothing, and of a node that has heard of none."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A handler of the scheduler's configuration: which nodes have it, and its settings there.

    `settings` are those that differ from the defaults, `handler` how it looks to placement.
    """

    selector: Selector
    settings: Mapping[str, Any]
    handler: Handler


class Orders(NamedTuple):
    """What one node is told."""

    digest: bytes
    declared: dict[str, Any]
    disabled: dict[str, str]
    reload: dict[str, int]


@dataclass(slots=True)
class Handlers:
    """What is declared by the configuration, and by (handler, node) what operators asked.

    `told` keeps the orders of each node until something of them changes.
    """

    declared: Mapping[str, Declared] = field(default_factory=dict)
    rows: dict[tuple[str, str], HandlerRow] = field(default_factory=dict)
    told: dict[str, Orders] = field(default_factory=dict)

    def switched_off(self, handler: str, node: str) -> HandlerRow | None:
        """Return by what a handler takes no calls on a node."""
        for key in ((handler, node), (handler, EVERYWHERE)):
            row = self.rows.get(key)
            if row is not None and row.since_ms:
                return row
        return None

    def are_for(self, node: Node) -> dict[str, Declared]:
        """Return what the configuration declares for a node."""
        labels = node.capabilities.labels
        return {
            name: each
            for name, each in self.declared.items()
            if each.selector.selects(node.name, labels)
        }


def declare(core: Core, declared: Mapping[str, Declared], effects: Effects) -> None:
    """Take in which handlers the configuration declares now, and have nodes hear of it."""
    if declared != core.handlers.declared:
        core.handlers.declared = dict(declared)
        changed(core)
        tell(core, effects)


def recover(core: Core, rows: Iterable[HandlerRow]) -> None:
    """Take up what the journal holds; nodes are known by then."""
    core.handlers.rows = {(row.handler, row.node): row for row in rows}
    for node in core.fleet.nodes.values():
        apply(core, node)


def changed(core: Core) -> None:
    """Have all nodes show, and hear, what was changed of the declarations or by an operator."""
    core.handlers.told.clear()
    for node in core.fleet.nodes.values():
        apply(core, node)
    core.fleet.changed_shape()


def apply(core: Core, node: Node) -> None:
    """Have a node show which of its handlers are disabled, and which it is yet to hear of.

    Calls may be submitted for a handler from the moment on that it is declared.
    """
    core.handlers.told.pop(node.name, None)
    node.handlers = {each.name: each for each in node.capabilities.handlers}
    for name, each in core.handlers.are_for(node).items():
        node.handlers.setdefault(name, replace(each.handler, refused=_unheard(node)))
    found = ((name, core.handlers.switched_off(name, node.name)) for name in node.handlers)
    node.disabled = {name: row.reason for name, row in found if row is not None}


def _unheard(node: Node) -> str:
    if node.protocol < ORDERS_SINCE:
        return f"it speaks protocol {node.protocol}, so it hears of none: upgrade remuda there"
    return "it has not heard of it yet"


def orders_of(core: Core, node: Node) -> Orders:
    """Return what a node is to go by."""
    found = core.handlers.told.get(node.name)
    if found is None:
        found = core.handlers.told[node.name] = _made(core, node)
    return found


def _made(core: Core, node: Node) -> Orders:
    handlers = core.handlers
    declared = {name: dict(each.settings) for name, each in sorted(handlers.are_for(node).items())}
    disabled, reload = {}, {}
    for name, at in sorted(handlers.rows):
        if at not in (node.name, EVERYWHERE):
            continue
        if (row := handlers.switched_off(name, node.name)) is not None:
            disabled[name] = row.reason
        if at == node.name and (number := handlers.rows[name, at].reload):
            reload[name] = number
    if not (declared or disabled or reload):
        return Orders(NO_ORDERS, declared, disabled, reload)
    blob = pack_document({"declared": declared, "disabled": disabled, "reload": reload})
    digest = hashlib.blake2b(blob, digest_size=DIGEST_BYTES).digest()
    return Orders(digest, declared, disabled, reload)


def remind(core: Core, node: Node, known: bytes, effects: Effects) -> None:
    """Tell a node its orders, unless those are what it goes by.

    Those of a journal that was restored wait for its release: they may long have been taken back,
    and a handler that is disabled lets its models go, and the calls that wait for them.
    """
    if node.protocol < ORDERS_SINCE or not node.connected or core.recovery is not None:
        return
    orders = orders_of(core, node)
    if orders.digest != known:
        node.handler_orders = orders.digest
        message = HandlerOrders(
            node.incarnation, orders.digest, orders.declared, orders.disabled, orders.reload
        )
        effects.to_nodes.append(ToNode(node.name, message))


def tell(core: Core, effects: Effects) -> None:
    """Tell nodes at once what has changed for them; heartbeats show who did not hear it."""
    for node in core.fleet.nodes.values():
        if not node.lost:
            remind(core, node, node.handler_orders, effects)


def welcome(core: Core, node: Node) -> dict[str, Any]:
    """Return what is declared for a node that registers; the rest follows its first heartbeat.

    A scheduler that is held declares nothing, as it orders nothing; only a node that is too old to
    hear that it is held is told, which would take none for an order to let its handlers go.
    """
    node.handler_orders = NO_ORDERS
    if core.recovery is not None and node.protocol >= ORDERS_SINCE:
        return {}
    return orders_of(core, node).declared


def see(core: Core, node: Node, effects: Effects) -> None:
    """Take in what a node says of its handlers: a reload that it has done is over."""
    apply(core, node)
    for handler in node.capabilities.handlers:
        row = core.handlers.rows.get((handler.name, node.name))
        if row is None or not row.reload or handler.reloaded < row.reload:
            continue
        write(core, row._replace(reload=0), effects)
        facts: dict[str, object] = {"node": node.name, "handler": handler.name}
        effects.notes.append(Note("info", "handler loaded anew", facts))
        core.handlers.told.pop(node.name, None)


def write(core: Core, row: HandlerRow, effects: Effects) -> None:
    """Keep what an operator asked, or forget it when nothing of it is left."""
    key = (row.handler, row.node)
    effects.commit.handlers[key] = row
    if row.since_ms or row.reload:
        core.handlers.rows[key] = row
    else:
        core.handlers.rows.pop(key, None)


def forget(core: Core, node: Node, effects: Effects) -> None:
    """Forget what was asked of a node that is struck from the list."""
    core.handlers.told.pop(node.name, None)
    for row in [row for row in core.handlers.rows.values() if row.node == node.name]:
        write(core, row._replace(since_ms=0, reload=0), effects)


def disabled_everywhere(core: Core, handler: str) -> HandlerRow | None:
    """Return by what a handler takes no calls on any node that has it; None where it does."""
    having = [node for node in core.fleet.nodes.values() if handler in node.handlers]
    rows = [core.handlers.switched_off(handler, node.name) for node in having]
    if not having:
        return core.handlers.switched_off(handler, EVERYWHERE)
    return rows[0] if all(rows) else None


def explain(core: Core, request: Request) -> str:
    """Say of a call whose handler is disabled on every node that this is what it waits for."""
    if not request.handler or (row := disabled_everywhere(core, request.handler)) is None:
        return ""
    return (
        f"handler {row.handler} is disabled on every node that has it, by {row.principal}: "
        f"{row.reason}; `remuda handler enable {row.handler}` lifts that"
    )


def alarms(core: Core) -> list[str]:
    """Say for `status` which handlers take no calls on any node."""
    found = []
    for name in dict.fromkeys(handler for handler, _ in sorted(core.handlers.rows)):
        row = disabled_everywhere(core, name)
        if row is not None:
            waiting = core.buckets.count_of(name)
            calls = f"; {waiting} calls wait" if waiting > 1 else "; 1 call waits" * waiting
            found.append(
                f"handler {name} is disabled everywhere, by {row.principal}: {row.reason}{calls}"
            )
    return found
