"""Nodes with a ledger alone, for tests of placement without a scheduler around."""

from __future__ import annotations

from remuda.protocol.capabilities import Capabilities, Gpu, Handler
from remuda.protocol.codec import VERSION
from remuda.protocol.resources import Request
from remuda.scheduler.fleet import Node
from remuda.scheduler.scores import pick_cards
from remuda.scheduler.seats import declared
from remuda.scheduler.task import Attempt, Policy, Spec, Task

from ...fakes.world import GIB

H100 = "NVIDIA H100 80GB HBM3"


def make_node(
    name: str = "n1",
    *gpus: Gpu,
    cpus: float = 4,
    memory_gib: int = 32,
    labels: dict[str, str] | None = None,
    handlers: list[Handler] | None = None,
    resources: dict[str, int] | None = None,
    protocol: int = VERSION,
) -> Node:
    known = Capabilities(
        round(cpus * 1000),
        memory_gib * GIB,
        list(gpus),
        handlers or [],
        labels or {},
        resources=resources or {},
    )
    node = Node(name, known, connected=True, protocol=protocol)
    node.take_capabilities(known)
    node.take_residents(declared(known), 0)
    return node


def lend(node: Node, request: Request, number: int = 1) -> tuple[Task, Attempt]:
    """Enter an attempt in the ledger, on the cards that placement picks."""
    spec = Spec(1, request, Policy(50, 0, 1, 1, 1), "command", "ana")
    task = Task(number, number, 0, spec, b"")
    cards = tuple(card.gpu.uuid for card in pick_cards(node, request))
    attempt = task.live = Attempt(1, node.name, 1, b"", request, cards, False, 1, 0)
    node.add(task, attempt)
    return task, attempt
