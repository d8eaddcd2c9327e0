"""How a node is chosen: may it ever -> is there room now -> how well -> pick; refusals say why."""

from __future__ import annotations

import functools
import heapq
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..protocol.resources import MILLI, Request, format_bytes
from .fleet import Card, Fleet, Node, card_charge

Refusal = str
_Filter = Callable[[Node, Request], Refusal]
FEASIBLE_CACHE_MAX = 10_000
KNOWN_NODES_MAX = 10
REFUSED_THERE = "`remuda node show NAME` says what a node refuses"


# --- may it ever: judged on the node at its healthy size -------------------------------------


def _named(node: Node, request: Request) -> Refusal:
    if request.nodes and node.name not in request.nodes:
        return f"is not among the nodes asked for ({', '.join(request.nodes)})"
    return ""


def _labelled(node: Node, request: Request) -> Refusal:
    for key, wanted in request.labels:
        found = node.capabilities.labels.get(key)
        if found != wanted:
            return f"label {key} is {found or 'not set'}, wanted {wanted}"
    return ""


def _declares_handler(node: Node, request: Request) -> Refusal:
    if request.handler and request.handler not in node.handlers:
        known = ", ".join(sorted(node.handlers)) or "none"
        return f"does not declare the handler {request.handler} (declares: {known})"
    return ""


def _large_enough(node: Node, request: Request) -> Refusal:
    has = node.capabilities
    if request.cpus_milli > has.cpus_milli:
        return f"has {_cpus(has.cpus_milli)}, wanted {request.cpus_milli / MILLI:g}"
    if request.memory_bytes > has.memory_bytes:
        return (
            f"has {format_bytes(has.memory_bytes)} of memory, "
            f"wanted {format_bytes(request.memory_bytes)}"
        )
    return ""


def _has_cards(node: Node, request: Request) -> Refusal:
    if not request.cards:
        return ""
    cards = [card for card in node.cards.values() if card.gpu.memory_bytes]
    if not cards:
        return "has no GPU"
    typed = [card for card in cards if _is_type(card, request)]
    if not typed:
        names = ", ".join(sorted({card.gpu.name for card in cards}))
        return f"has {names}, wanted a GPU like {request.gpu_type!r}"
    able = sum(_could_fit(card, request) for card in typed)
    return "" if able >= request.cards else _too_few(typed, able, request)


def _could_fit(card: Card, request: Request) -> bool:
    """Tell whether a card has what is asked for next to its residents, which stay."""
    if request.gpus:
        return not card.resident_bytes and card.gpu.memory_bytes >= request.vram_bytes
    return card.resident_bytes + card_charge(request, card.gpu)[1] <= card.gpu.memory_bytes


def _too_few(cards: list[Card], able: int, request: Request) -> Refusal:
    largest = max(card.gpu.memory_bytes for card in cards)
    if largest < request.vram_bytes:
        return (
            f"largest GPU has {format_bytes(largest)} of VRAM, "
            f"wanted {format_bytes(request.vram_bytes)}"
        )
    if request.gpus:
        apart = " without a loaded handler" if any(card.resident_bytes for card in cards) else ""
        return f"has {_gpus(able)} like that{apart}, wanted {request.gpus}"
    left = max(card.gpu.memory_bytes - card.resident_bytes for card in cards)
    return f"loaded handlers leave at most {format_bytes(max(left, 0))} of VRAM on one GPU"


def _speaks(node: Node, request: Request) -> Refusal:
    if node.protocol >= request.protocol:
        return ""
    lacks = max(number for number in _BROUGHT if number <= request.protocol)
    return f"speaks protocol {node.protocol}, so it {_BROUGHT[lacks]}: upgrade remuda there"


_BROUGHT = {
    2: "holds neither fences nor limits of silence",
    3: "knows no files, code, environments or secrets of tasks",
}


def _offers_python(node: Node, request: Request) -> Refusal:
    known = node.capabilities.pythons
    if not request.python or request.python in known:
        return ""
    return f"has no python {request.python!r} (known: {_listed(known)})"


def _has_secrets(node: Node, request: Request) -> Refusal:
    missing = [name for name in request.secrets if name not in node.capabilities.secrets]
    if not missing:
        return ""
    return f"has no secret {missing[0]!r} (known: {_listed(node.capabilities.secrets)})"


MAY_EVER: tuple[_Filter, ...] = (
    _named,
    _labelled,
    _declares_handler,
    _large_enough,
    _has_cards,
    _speaks,
    _offers_python,
    _has_secrets,
)


# --- is there room now -----------------------------------------------------------------------


def _alive(node: Node, _request: Request) -> Refusal:
    if node.lost:
        return "is lost"
    if node.drain is not None:
        return "is drained" + (f": {node.drain.reason}" if node.drain.reason else "")
    if not node.connected:
        return "has not registered since the scheduler started"
    return "is silent, so it gets no new work" if node.suspect else ""


def _willing(node: Node, request: Request) -> Refusal:
    return "refused such a task a moment ago" if request in node.shunned else ""


def _handler_ready(node: Node, request: Request) -> Refusal:
    if not request.handler:
        return ""
    handler = node.handlers[request.handler]
    if handler.state != "ready":
        return f"handler {handler.name} is {handler.state}" + (
            f": {handler.error}" if handler.error else ""
        )
    if node.free_workers(handler.name) <= 0:
        return f"all {handler.workers} workers of handler {handler.name} are busy"
    return ""


def _has_room(node: Node, request: Request) -> Refusal:
    free = node.capabilities.cpus_milli - node.cpus_used_milli
    if request.cpus_milli > free:
        return f"{_cpus(max(free, 0))} free, wanted {request.cpus_milli / MILLI:g}"
    free = node.capabilities.memory_bytes - node.memory_used_bytes
    if request.memory_bytes > free:
        wanted = format_bytes(request.memory_bytes)
        return f"{format_bytes(max(free, 0))} of memory free, wanted {wanted}"
    return ""


def _has_free_cards(node: Node, request: Request) -> Refusal:
    if not request.cards or len(_free_cards(node, request)) >= request.cards:
        return ""
    lent = [card for card in _matching(node, request) if not card.gpu.withheld]
    held = len(_matching(node, request)) - len(lent)
    also = f" ({_gpus(held)} held back, see its notes)" if held else ""
    if request.gpus:
        free = len(_free_cards(node, request))
        return f"{_gpus(free)} of that kind wholly free, wanted {request.gpus}{also}"
    most = max((card.vram_free_bytes for card in lent), default=0)
    return f"at most {format_bytes(max(most, 0))} of VRAM free on one matching GPU{also}"


IS_ROOM: tuple[_Filter, ...] = (_alive, _willing, _handler_ready, _has_room, _has_free_cards)


@functools.lru_cache(maxsize=256)
def _pattern(gpu_type: str) -> re.Pattern[str]:
    return re.compile(gpu_type, re.IGNORECASE)


def _is_type(card: Card, request: Request) -> bool:
    return not request.gpu_type or bool(_pattern(request.gpu_type).search(card.gpu.name))


def _matching(node: Node, request: Request) -> list[Card]:
    return [
        card
        for card in node.cards.values()
        if card.gpu.memory_bytes
        and card.gpu.memory_bytes >= request.vram_bytes
        and _is_type(card, request)
    ]


def _free_cards(node: Node, request: Request) -> list[Card]:
    return [card for card in _matching(node, request) if _card_fits(card, request)]


def _card_fits(card: Card, request: Request) -> bool:
    if card.gpu.withheld:
        return False
    if request.gpus:
        return card.untouched
    share_milli, vram_bytes = card_charge(request, card.gpu)
    return card.share_milli + share_milli <= MILLI and vram_bytes <= card.vram_free_bytes


def _first_refusal(filters: tuple[_Filter, ...], node: Node, request: Request) -> Refusal:
    for refuses in filters:
        if refusal := refuses(node, request):
            return refusal
    return ""


def _cpus(milli: int) -> str:
    return "1 CPU" if milli == MILLI else f"{milli / MILLI:g} CPUs"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _gpus(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"


def may_ever(node: Node, request: Request) -> Refusal:
    """Return why a node could never run a request at its healthy size, or nothing."""
    return _first_refusal(MAY_EVER, node, request)


def refusal_now(node: Node, request: Request) -> Refusal:
    """Return why a node cannot take a request at this moment, or nothing."""
    return may_ever(node, request) or _first_refusal(IS_ROOM, node, request)


# --- how well, and which cards -----------------------------------------------------------------


def how_well(node: Node, request: Request) -> tuple[float, ...]:
    """Score a node that has room; smaller is better.

    A task without GPU keeps away from nodes with cards to lend; one with a GPU goes where the
    least VRAM is left over (best fit), so that large cards stay whole. Then the emptier node.
    """
    load = node.cpus_used_milli / max(node.capabilities.cpus_milli, 1)
    if not request.cards:
        idle_cards = sum(card.untouched for card in node.cards.values())
        return (float(idle_cards > 0), load)
    left = sum(
        card.vram_free_bytes - card_charge(request, card.gpu)[1]
        for card in pick_cards(node, request)
    )
    return (float(left), load)


def pick_cards(node: Node, request: Request) -> list[Card]:
    """Choose the cards of a node that has room: the tightest fit, cards in use first."""
    if not request.cards:
        return []
    free = _free_cards(node, request)
    free.sort(key=lambda card: (card.vram_free_bytes, card.gpu.index, card.gpu.uuid))
    return free[: request.cards]


@dataclass(frozen=True, slots=True)
class Choice:
    """A node and the UUIDs granted on it."""

    node: Node
    gpus: tuple[str, ...]


class Candidates:
    """The nodes that have room for one request, best first, while a turn hands out tasks."""

    def __init__(self, nodes: Iterable[Node], request: Request) -> None:
        self._request = request
        self._heap = [
            (how_well(node, request), node.name, node)
            for node in nodes
            if not refusal_now(node, request)
        ]
        heapq.heapify(self._heap)

    def pick(self) -> Choice | None:
        """Return the best node with its cards; the caller enters the grant before the next call."""
        while self._heap:
            _, name, node = heapq.heappop(self._heap)
            if refusal_now(node, self._request):
                continue
            score = how_well(node, self._request)
            if self._heap and (score, name) > self._heap[0][:2]:
                heapq.heappush(self._heap, (score, name, node))
                continue
            heapq.heappush(self._heap, (score, name, node))
            cards = pick_cards(node, self._request)
            return Choice(node, tuple(card.gpu.uuid for card in cards))
        return None


class Feasibility:
    """Whether any known node could ever run a request, cached until the fleet's shape changes."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._revision = -1
        self._known: dict[Request, dict[str, Refusal]] = {}

    def refusals(self, request: Request) -> dict[str, Refusal]:
        """Return node -> reason when no node could ever run it; empty when one could.

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
        return refusals


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
        known = _listed(sorted(fleet.nodes)[:KNOWN_NODES_MAX])
        more = ", ..." if len(fleet.nodes) > KNOWN_NODES_MAX else ""
        return f"there is no node {' or '.join(request.nodes)}; known: {known}{more}"
    offers = [node.capabilities for node in fleet.nodes.values()]
    pythons = {name for each in offers for name in each.pythons}
    if request.python and request.python not in pythons:
        return f"no node has python {request.python!r}; known: {_listed(pythons)}; {REFUSED_THERE}"
    secrets = {name for each in offers for name in each.secrets}
    for name in request.secrets:
        if name not in secrets:
            return f"no node has secret {name!r}; known: {_listed(secrets)}; {REFUSED_THERE}"
    return ""


def explain_refusals(refusals: dict[str, Refusal], most: int = 3) -> str:
    """Write refusals in one line, the first few nodes by name."""
    shown = [f"{name} {reason}" for name, reason in sorted(refusals.items())[:most]]
    rest = len(refusals) - len(shown)
    return "; ".join(shown) + (f"; and {rest} more nodes" if rest else "")


def refusals_now(fleet: Fleet, request: Request) -> Iterator[tuple[str, Refusal]]:
    """Yield each node with the reason why it does not take the request at this moment."""
    for name, node in fleet.nodes.items():
        yield name, refusal_now(node, request)
