"""May a node ever run this: judged at its healthy size, with a reason for each refusal."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..protocol.resources import MILLI, Request, format_bytes
from .countables import lacks
from .fleet import RESIDENTS_SINCE, Card, Node, card_charge
from .suiting import cards_to_lend, goes_together, is_able, is_type

GIB = 1 << 30
SOLD_AS_MAX = 1.07
"""A card sold as 24 GB may show 22.5 GiB."""
Refusal = str
Filter = Callable[[Node, Request], Refusal]


def may_ever(node: Node, request: Request) -> Refusal:
    """Return why a node could never run a request, or nothing.

    Where there are alternatives it is the reason against the first of them.
    """
    refusal = first_refusal(MAY_EVER, node, request)
    if refusal and request.others and not all(may_ever(node, each) for each in request.others):
        return ""
    return refusal


def first_refusal(filters: tuple[Filter, ...], node: Node, request: Request) -> Refusal:
    for refuses in filters:
        if refusal := refuses(node, request):
            return refusal
    return ""


def _named(node: Node, request: Request) -> Refusal:
    if request.nodes and node.name not in request.nodes:
        return f"is not among the nodes asked for ({', '.join(request.nodes)})"
    if node.name in request.not_nodes:
        return "is a node that was ruled out"
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


def _holds_model(node: Node, request: Request) -> Refusal:
    """Tell whether a call's handler lists its model, and has a card that is large enough for it."""
    handler = node.handlers.get(request.handler)
    if handler is None:
        return ""
    if request.model and handler.models and request.model not in handler.models:
        known = listed(handler.models)
        return f"handler {handler.name} does not list the model {request.model} (lists: {known})"
    largest = max((card.gpu.memory_bytes for card in node.cards.values()), default=0)
    if handler.vram_bytes > largest:
        return (
            f"handler {handler.name} wants {format_bytes(handler.vram_bytes)} of VRAM, "
            f"the largest GPU has {format_bytes(largest)}"
        )
    return ""


def _large_enough(node: Node, request: Request) -> Refusal:
    has = node.capabilities
    if request.cpus_milli > has.cpus_milli:
        return f"has {cpus_text(has.cpus_milli)}, wanted {request.cpus_milli / MILLI:g}"
    if request.memory_bytes > has.memory_bytes:
        return (
            f"has {format_bytes(has.memory_bytes)} of memory, "
            f"wanted {format_bytes(request.memory_bytes)}"
        )
    return ""


def _has_cards(node: Node, request: Request) -> Refusal:
    if not request.cards:
        return ""
    cards = cards_to_lend(node)
    if not cards:
        return "has no GPU"
    typed = [card for card in cards if is_type(card, request)]
    if not typed:
        return f"has {_names(cards)}, wanted a GPU like {request.gpu_type!r}"
    able = [card for card in typed if is_able(card, request)]
    if not able:
        best = max(card.gpu.cc for card in typed) / 10
        wanted = request.gpu_cc / 10
        return f"has {_names(typed)} of compute capability {best:g}, wanted {wanted:g} or more"
    fitting = [card for card in able if _could_fit(node, card, request)]
    together = [card for card in fitting if goes_together(card, request)]
    if len(together) >= request.cards:
        return ""
    if len(fitting) >= request.cards:
        return (
            f"has {gpus_text(len(together))} besides MIG devices, of which a task gets one alone, "
            f"wanted {request.gpus}"
        )
    return _too_few(able, len(fitting), request)


def _names(cards: list[Card]) -> str:
    return ", ".join(sorted({card.gpu.name for card in cards}))


def _could_fit(node: Node, card: Card, request: Request) -> bool:
    """Tell whether a card has what is asked for; models give way, except on an old node."""
    stays_bytes = card.resident_bytes if node.protocol < RESIDENTS_SINCE else 0
    if request.gpus:
        return not stays_bytes and card.gpu.memory_bytes >= request.vram_bytes
    return stays_bytes + card_charge(request, card.gpu)[1] <= card.gpu.memory_bytes


def _too_few(cards: list[Card], able: int, request: Request) -> Refusal:
    largest = max(card.gpu.memory_bytes for card in cards)
    if largest < request.vram_bytes:
        return (
            f"largest GPU has {format_bytes(largest)} of VRAM, "
            f"wanted {format_bytes(request.vram_bytes)}{_as_sold(largest, request)}"
        )
    if request.gpus:
        apart = " without a loaded handler" if any(card.resident_bytes for card in cards) else ""
        return f"has {gpus_text(able)} like that{apart}, wanted {request.gpus}"
    left = max(card.gpu.memory_bytes - card.resident_bytes for card in cards)
    return f"loaded handlers leave at most {format_bytes(max(left, 0))} of VRAM on one GPU"


def _as_sold(largest: int, request: Request) -> str:
    """Say what to ask for where somebody seems to mean just such a card, by the name it has."""
    if largest * SOLD_AS_MAX < request.vram_bytes:
        return ""
    return f" (cards show less than they are sold as: ask for {largest * 10 // GIB / 10:g}GiB)"


def nearness(node: Node, request: Request) -> tuple[int, ...]:
    """Say how much of what is asked for a node has; what could ever run it has most."""
    passed = next((at for at, refuses in enumerate(MAY_EVER) if refuses(node, request)), 99)
    cards = [card.gpu.memory_bytes for card in cards_to_lend(node) if is_type(card, request)]
    has = node.capabilities
    return passed, len(cards) >= request.cards, max(cards, default=0), has.cpus_milli


def _speaks(node: Node, request: Request) -> Refusal:
    if node.protocol >= request.protocol:
        return ""
    lacks = max(number for number in _BROUGHT if number <= request.protocol)
    return f"speaks protocol {node.protocol}, so it {_BROUGHT[lacks]}: upgrade remuda there"


_BROUGHT = {
    2: "holds neither fences nor limits of silence",
    3: "knows no files, code, environments or secrets of tasks",
    4: "neither counts resources nor can be had alone",
}


def _offers_python(node: Node, request: Request) -> Refusal:
    known = node.capabilities.pythons
    if not request.python or request.python in known:
        return ""
    return f"has no python {request.python!r} (known: {listed(known)})"


def _has_secrets(node: Node, request: Request) -> Refusal:
    missing = [name for name in request.secrets if name not in node.capabilities.secrets]
    if not missing:
        return ""
    return f"has no secret {missing[0]!r} (known: {listed(node.capabilities.secrets)})"


MAY_EVER: tuple[Filter, ...] = (
    _named,
    _labelled,
    _declares_handler,
    _holds_model,
    _large_enough,
    lacks,
    _has_cards,
    _speaks,
    _offers_python,
    _has_secrets,
)


def cpus_text(milli: int) -> str:
    return "1 CPU" if milli == MILLI else f"{milli / MILLI:g} CPUs"


def listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def gpus_text(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"
