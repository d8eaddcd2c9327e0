"""Which nodes go by what operators changed? Each says so; one that is behind is told again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ..protocol.configured import SINCE, NodeConfig, digest_of, from_document
from ..protocol.messages import Configure, Heartbeat
from . import forecast, handler_orders
from .buckets import Buckets
from .events import ConfigChanged, Now
from .fleet import Node
from .records import AuditRow, Effects, Note, ToNode
from .retry import waits_for_another
from .task import State

if TYPE_CHECKING:
    from .core import Core, CoreSettings

Plain = Mapping[str, Any]
"""Changes by key, as a document: value, author, time, version."""


_OLD = "it speaks protocol {}: upgrade its agent"


class NodeState(NamedTuple):
    """How a node stands to the newest version: confirmed, behind, refused, away or cannot."""

    word: str
    why: str = ""


@dataclass(slots=True)
class Wanted:
    """What nodes are to go by as of a version: changes for all, and for each node alone."""

    version: int = 0
    reloads: int = 0
    everywhere: Plain = field(default_factory=dict)
    narrowed: Mapping[str, Plain] = field(default_factory=dict)
    _known: dict[str, tuple[bytes, Plain]] = field(default_factory=dict)

    def of(self, node: str) -> tuple[bytes, Plain]:
        """Return what a node is to go by, and its digest."""
        name = node if node in self.narrowed else ""
        found = self._known.get(name)
        if found is None:
            changes = {**self.everywhere, **self.narrowed.get(name, {})}
            found = self._known[name] = digest_of(changes, self.reloads), changes
        return found


def on_changed(core: Core, event: ConfigChanged, now: Now, effects: Effects) -> None:
    """Go by a new version from now on: it is committed before anybody is told."""
    core.wanted = event.wanted
    retune(core, event.settings, now)
    handler_orders.declare(core, event.settings.handlers, effects)
    effects.commit.config.append(event.row)
    row = event.row
    effects.commit.audit.append(
        AuditRow(now.wall_ms, event.principal, f"config {row.cause}", event.subject)
    )
    facts: dict[str, object] = {"by": row.author, "what": event.subject}
    effects.notes.append(Note("info", "configuration changed", facts))
    if event.request:
        effects.replies.append((event.request, event.reply))


def retune(core: Core, settings: CoreSettings, now: Now) -> None:
    """Take new numbers: what was decided stays, what is to come is judged by them.

    What waits in the queue is sorted anew where its order depends on what changed.
    """
    before, core.settings = core.settings, settings
    if settings.rating != before.rating:
        core.rating = settings.rating.measured(core.paces.speeds())
    if (settings.policies, settings.order_window_ms) != (before.policies, before.order_window_ms):
        core.buckets = Buckets(
            partial(waits_for_another, settings.policies),
            settings.order_window_ms,
            partial(forecast.pace, core),
        )
        queued = [task for task in core.tasks.values() if task.state is State.QUEUED]
        for task in sorted(queued, key=lambda each: each.number):
            core.buckets.put(task)
    core.silence_due_ns = core.upkeep_due_ns = now.mono_ns
    core.fleet.changed_all()


def see(core: Core, node: Node, message: Heartbeat, effects: Effects) -> None:
    """Take in what a node goes by; tell it what it is to go by, if that is something else.

    What a restored journal says waits for its release: it is older than what the node goes by.
    """
    before = state_of(core, node)
    node.config_digest = message.config_digest
    if message.config:
        try:
            node.config = from_document(message.config)
        except ValueError as error:
            facts: dict[str, object] = {"node": node.name, "why": str(error)}
            effects.notes.append(Note("warning", "report of a configuration refused", facts))
    state = state_of(core, node)
    if state.word == "behind" and core.recovery is None:
        digest, changes = core.wanted.of(node.name)
        told = Configure(
            node.incarnation, core.wanted.version, digest, core.wanted.reloads, dict(changes)
        )
        effects.to_nodes.append(ToNode(node.name, told))
    elif state.word == "refused" and before.word != "refused":
        facts = {"node": node.name, "version": core.wanted.version, "why": state.why}
        effects.notes.append(Note("warning", "node refuses the configuration", facts))
    elif state.word == "confirmed" and before.word in ("behind", "refused"):
        facts = {"node": node.name, "version": core.wanted.version}
        effects.notes.append(Note("info", "node goes by the configuration", facts))


def state_of(core: Core, node: Node) -> NodeState:
    """Say how a node stands to what it is to go by."""
    digest, _ = core.wanted.of(node.name)
    if node.config_digest == digest and (node.connected or not digest):
        return NodeState("confirmed", "" if node.protocol >= SINCE else _OLD.format(node.protocol))
    if not node.connected or node.lost or node.suspect:
        return NodeState("away", "it is not heard; it converges when it comes back")
    if node.protocol < SINCE:
        return NodeState("cannot", _OLD.format(node.protocol))
    if digest and node.config.refused == digest:
        return NodeState("refused", node.config.why)
    if core.recovery is not None:
        return NodeState("behind", "it is told once the restored scheduler is released")
    return NodeState("behind", "it has not confirmed yet")


def behind(core: Core) -> Iterator[tuple[Node, NodeState]]:
    """Yield the nodes that do not go by the newest version, by name."""
    for name in sorted(core.fleet.nodes):
        state = state_of(core, core.fleet.nodes[name])
        if state.word != "confirmed":
            yield core.fleet.nodes[name], state


def on_joined(node: Node, *, is_new: bool) -> None:
    """Forget what another start of an agent said; its heartbeats tell."""
    if is_new:
        node.config_digest, node.config = b"", NodeConfig()
