"""How long does a call wait for a loaded model, and how long is a model kept that is waited for?

A call whose model is loaded, but busy, waits for it about as long as loading it elsewhere would
take, and at most `warm_wait`. A model for which calls wait is evicted for others only once those
have waited for `warm_wait`: both bounds hold for each task, so that neither side starves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..protocol.resources import Request
from . import warm
from .events import Now
from .feasible import may_ever
from .fleet import Node
from .spans import span
from .task import Task

if TYPE_CHECKING:
    from .core import Core

MODELS_MAX = 4_096
TASKS_MAX = 16_384
_NS_PER_MS = 1_000_000
_NS_PER_S = 1_000_000_000

Model = tuple[str, str]
"""A handler, and the model that its workers hold."""


@dataclass(slots=True)
class Warmth:
    """What is known of loads: how long each took, when the last of each began, who waits.

    `due_ns` is when a decision that waited is to be made again; `since_ns` when a task was first
    found waiting.
    """

    load_ns: dict[Model, int] = field(default_factory=dict)
    begun_ns: dict[Model, int] = field(default_factory=dict)
    since_ns: dict[int, int] = field(default_factory=dict)
    due_ns: int | None = None

    def wake(self, at_ns: int) -> None:
        """Have what waits looked at again at this time."""
        self.due_ns = at_ns if self.due_ns is None else min(self.due_ns, at_ns)

    def learn(self, node: Node) -> None:
        """Take in how long the models of a node took to load."""
        for each in node.seats.residents:
            if each.load_ms > 0:
                _keep(self.load_ns, (each.handler, each.model), each.load_ms * _NS_PER_MS)

    def on_load(self, model: Model, now_ns: int) -> None:
        """Take in that a load was granted: the next of the same model waits for it."""
        _keep(self.begun_ns, model, now_ns)

    def waited_ns(self, task: Task, now: Now) -> int:
        """Return how long a task has waited: since it was submitted, whatever the wall clock did
        since it was first found waiting."""
        if task.id not in self.since_ns and len(self.since_ns) >= TASKS_MAX:
            del self.since_ns[next(iter(self.since_ns))]
        seen_ns = now.mono_ns - self.since_ns.setdefault(task.id, now.mono_ns)
        return max(seen_ns, (now.wall_ms - task.created_ms) * _NS_PER_MS)


def _keep(table: dict[Model, int], model: Model, value: int) -> None:
    """Enter a value; the model that was entered first is dropped when the table is full."""
    table.pop(model, None)
    if len(table) >= MODELS_MAX:
        del table[next(iter(table))]
    table[model] = value


def end_waits(core: Core, now: Now) -> None:
    """Have what waited for loaded models placed anew when its time has come."""
    warmth = core.warmth
    if warmth.due_ns is not None and warmth.due_ns <= now.mono_ns:
        warmth.due_ns = None
        core.fleet.changed_all()


def loaded_on(nodes: Iterable[Node], request: Request) -> list[Node]:
    """Return the nodes on which the model of a call is loaded, or about to be."""
    return [
        node
        for node in nodes
        if node.takes_work and warm.is_about(node, request) and not may_ever(node, request)
    ]


def patient_until_ns(
    core: Core, task: Task, request: Request, nodes: Iterable[Node], now: Now
) -> int | None:
    """Return until when a call waits for a model that is loaded; None when it need not."""
    found = loaded_on(nodes, request)
    if not found:
        return None
    warmth, longest_ns = core.warmth, core.settings.warm_wait_ns
    model = (request.handler, warm.model_of(found[0], request))
    patience_ns = min(warmth.load_ns.get(model, longest_ns), longest_ns)
    since_ns = now.mono_ns - warmth.waited_ns(task, now)
    since_ns = max(since_ns, warmth.begun_ns.get(model, since_ns))
    until_ns = since_ns + patience_ns
    return until_ns if until_ns > now.mono_ns else None


def explain(core: Core, task: Task, now: Now) -> str:
    """Say for which loaded model a call waits, and how long; empty when it does not."""
    request = task.spec.request
    if not request.handler:
        return ""
    nodes = core.fleet.nodes.values()
    until_ns = patient_until_ns(core, task, request, nodes, now)
    if until_ns is None:
        return ""
    names = sorted(node.name for node in loaded_on(nodes, request))
    shown = names[0] if len(names) == 1 else f"{names[0]} or {len(names) - 1} more"
    left = span((until_ns - now.mono_ns) / _NS_PER_S)
    return f"it waits up to {left} for the warm worker on {shown}, then its model is loaded anew"
