"""Has a node room for this now: with a reason for each refusal."""

from __future__ import annotations

from ..protocol.resources import MILLI, Request, format_bytes
from . import measured, warm
from .countables import lacks_now
from .feasible import (
    MAY_EVER,
    Filter,
    Refusal,
    cpus_text,
    first_refusal,
    gpus_text,
)
from .fleet import Card, Node, card_charge, takes_along
from .suiting import cards_to_lend, suits


def refusal_now(node: Node, request: Request) -> Refusal:
    """Return why a node cannot take a request without alternatives now, or nothing."""
    return first_refusal(MAY_EVER, node, request) or first_refusal(IS_ROOM, node, request)


def _alive(node: Node, _request: Request) -> Refusal:
    if node.lost:
        return "is lost"
    if node.drain is not None:
        return "is drained" + (f": {node.drain.reason}" if node.drain.reason else "")
    if not node.connected:
        return "has not registered since the scheduler started"
    return "is silent, so it gets no new work" if node.suspect else ""


def _willing(node: Node, request: Request) -> Refusal:
    if node.shunned and request in node.shunned:  # to hash a request is dear, few are shunned
        return "refused such a task a moment ago"
    return ""


def _alone(node: Node, request: Request) -> Refusal:
    if node.exclusives:
        return "is lent to one task alone"
    if request.exclusive and node.held:
        held = "1 task" if len(node.held) == 1 else f"{len(node.held)} tasks"
        return f"has {held}, wanted a node without any"
    return ""


def _handler_ready(node: Node, request: Request) -> Refusal:
    if not request.handler:
        return ""
    return warm.refusal(node, request)


def _has_room(node: Node, request: Request) -> Refusal:
    if takes_along(node, request):
        return ""
    free = node.capabilities.cpus_milli - node.cpus_used_milli
    if request.cpus_milli > free:
        return f"{cpus_text(max(free, 0))} free, wanted {request.cpus_milli / MILLI:g}"
    free = node.capabilities.memory_bytes - node.memory_used_bytes
    if request.memory_bytes > free:
        wanted = format_bytes(request.memory_bytes)
        return f"{format_bytes(max(free, 0))} of memory free, wanted {wanted}"
    return ""


def _has_free_cards(node: Node, request: Request) -> Refusal:
    if not request.cards or len(free_cards(node, request)) >= request.cards:
        return ""
    found = matching(node, request)
    tight = [card for card in found if _card_fits(card, request)]
    if len(tight) >= request.cards:
        short = [card for card in tight if measured.refusal(node, card, request)]
        return f"GPU {short[0].gpu.index} {measured.refusal(node, short[0], request)}"
    cleared = sum(card.claimed_by not in (None, request) for card in found)
    lent = [card for card in found if not card.closed and card.claimed_by in (None, request)]
    also = _not_lent([card for card in found if card.closed])
    also += f" ({gpus_text(cleared)} being cleared for another task)" if cleared else ""
    if request.gpus:
        free = len(free_cards(node, request))
        return f"{gpus_text(free)} of that kind wholly free, wanted {request.gpus}{also}"
    most = max((card.vram_free_bytes for card in lent), default=0)
    return f"at most {format_bytes(max(most, 0))} of VRAM free on one matching GPU{also}"


def _not_lent(cards: list[Card]) -> str:
    """Say of cards that would do that they are not lent, and why the first of them is not."""
    if not cards:
        return ""
    card = next((card for card in cards if card.cordoned), cards[0])
    how = "cordoned" if card.cordoned else "held back"
    which = f"GPU {card.gpu.index}" if len(cards) == 1 else f"{gpus_text(len(cards))}, GPU"
    which += "" if len(cards) == 1 else f" {card.gpu.index}"
    return f" ({which} is {how}: {card.closed})"


IS_ROOM: tuple[Filter, ...] = (
    _alive,
    _willing,
    _alone,
    _handler_ready,
    _has_room,
    lacks_now,
    _has_free_cards,
)


def matching(node: Node, request: Request) -> list[Card]:
    return [card for card in cards_to_lend(node) if suits(card, request)]


def free_cards(node: Node, request: Request) -> list[Card]:
    return [card for card in matching(node, request) if _card_has_room(node, card, request)]


def lacks_vram(node: Node, request: Request) -> bool:
    """Tell in short, where most requests fail, whether no card has as much free as is wanted."""
    wanted = request.vram_bytes
    return bool(wanted) and all(card.vram_free_bytes < wanted for card in node.cards.values())


def takes(node: Node, uuid: str, request: Request) -> bool:
    """Tell whether one card of a node has room for a request."""
    return any(card.gpu.uuid == uuid for card in free_cards(node, request))


def _card_has_room(node: Node, card: Card, request: Request) -> bool:
    return _card_fits(card, request) and not measured.refusal(node, card, request)


def _card_fits(card: Card, request: Request) -> bool:
    if card.closed or card.claimed_by not in (None, request):
        return False
    if request.gpus:
        return card.untouched
    share_milli, vram_bytes = card_charge(request, card.gpu)
    return card.share_milli + share_milli <= MILLI and vram_bytes <= card.vram_free_bytes
