"""How a node is chosen: may it ever -> has it room now -> how well -> pick; refusals say why."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from ..protocol.resources import Request
from .feasible import Refusal, listed, may_ever, nearness
from .fleet import Fleet, Node
from .scores import PACKED, Rating, how_well, pick_cards
from .vacancy import lacks_vram, refusal_now

FEASIBLE_CACHE_MAX = 10_000
KNOWN_NODES_MAX = 10
REFUSED_THERE = "`remuda node show NAME` says what a node refuses"


@dataclass(frozen=True, slots=True)
class Choice:
    """A node, what it is granted for, and the UUIDs granted on it."""

    node: Node
    request: Request
    gpus: tuple[str, ...]


Seen = Callable[[Node], Node]
"""Shows of a node what is not kept from who asks (see `reservations.py`)."""


def _all_of_it(node: Node) -> Node:
    return node


class Candidates:
    """The nodes that have room for one request without alternatives, best first, for a turn."""

    def __init__(
        self,
        nodes: Iterable[Node],
        request: Request,
        rating: Rating = PACKED,
        seen: Seen = _all_of_it,
    ) -> None:
        self._request = request
        self._rating = rating
        self._seen = seen
        self._heap: list[tuple[float, str, Node]] = []
        for node in nodes:
            if not lacks_vram(node, request):
                shown = seen(node)
                if not refusal_now(shown, request):
                    self._heap.append((-how_well(shown, request, rating), node.name, node))
        heapq.heapify(self._heap)

    def pick(self) -> Choice | None:
        """Return the best node with its cards; the caller enters the grant before the next call."""
        while self._heap:
            _, name, node = heapq.heappop(self._heap)
            shown = self._seen(node)
            if refusal_now(shown, self._request):
                continue
            score = -how_well(shown, self._request, self._rating)
            if self._heap and (score, name) > self._heap[0][:2]:
                heapq.heappush(self._heap, (score, name, node))
                continue
            heapq.heappush(self._heap, (score, name, node))
            cards = pick_cards(shown, self._request, self._rating)
            return Choice(node, self._request, tuple(card.gpu.uuid for card in cards))
        return None


class Feasibility:
    """Whether any known node could ever run a request, cached until the fleet's shape changes."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._revision = -1
        self._known: dict[Request, dict[str, Refusal]] = {}

    def refusals(self, request: Request) -> dict[str, Refusal]:
        """Return node -> reason when no node could ever run it, the nearest fit first; empty when
        one could.

        With no node known yet nothing is refused.
        """
        if self._revision != self._fleet.shape_revision or len(self._known) > FEASIBLE_CACHE_MAX:
            self._known.clear()
            self._revision = self._fleet.shape_revision
        found = self._known.get(request)
        if found is None:
            found = self._known[request] = self._judge(request)
        return found

    def _judge(self, request: Request) -> dict[str, Refusal]:
        refusals = {}
        for node in self._fleet.nodes.values():
            refusal = may_ever(node, request)
            if not refusal:
                return {}
            refusals[node.name] = refusal
        nodes = self._fleet.nodes
        nearest = sorted(refusals, key=lambda name: nearness(nodes[name], request), reverse=True)
        return {name: refusals[name] for name in nearest}


def could_run(fleet: Fleet, request: Request, avoid: Sequence[str] = ()) -> bool:
    """Tell whether a node that is not avoided could ever run a request."""
    return any(
        node.name not in avoid and not may_ever(node, request) for node in fleet.nodes.values()
    )


def avoided(fleet: Fleet, request: Request, names: Sequence[str]) -> Sequence[str]:
    """Return which of the nodes that failed a task are passed over: all, if another may take it.

    One that is drained, silent or lost takes nothing: for it no task waits.
    """
    others = (node for node in fleet.nodes.values() if node.name not in names)
    return names if any(node.takes_work and not may_ever(node, request) for node in others) else ()


def nowhere(fleet: Fleet, request: Request) -> str:
    """Say which node, interpreter or secret of a request is nowhere; empty when each is somewhere.

    A request that names several nodes waits for those that there are.
    """
    if request.nodes and not any(name in fleet.nodes for name in request.nodes):
        known = listed(sorted(fleet.nodes)[:KNOWN_NODES_MAX])
        more = ", ..." if len(fleet.nodes) > KNOWN_NODES_MAX else ""
        return f"there is no node {' or '.join(request.nodes)}; known: {known}{more}"
    offers = [node.capabilities for node in fleet.nodes.values()]
    pythons = {name for each in offers for name in each.pythons}
    if request.python and request.python not in pythons:
        return f"no node has python {request.python!r}; known: {listed(pythons)}; {REFUSED_THERE}"
    secrets = {name for each in offers for name in each.secrets}
    for name in request.secrets:
        if name not in secrets:
            return f"no node has secret {name!r}; known: {listed(secrets)}; {REFUSED_THERE}"
    return ""


def explain_refusals(refusals: dict[str, Refusal], most: int = 3) -> str:
    """Write refusals in one line, the first few of them."""
    shown = [f"{name} {reason}" for name, reason in islice(refusals.items(), most)]
    rest = len(refusals) - len(shown)
    return "; ".join(shown) + (f"; and {rest} more nodes" if rest else "")


def refusals_now(fleet: Fleet, options: Sequence[Request]) -> Iterator[tuple[str, Refusal]]:
    """Yield each node with the reason why it takes none of what will do at this moment.

    It is the reason against the first of them.
    """
    for name, node in fleet.nodes.items():
        refusals = [refusal_now(node, each) for each in options]
        yield name, refusals[0] if all(refusals) else ""
