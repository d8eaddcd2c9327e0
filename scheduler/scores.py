"""How well does a node suit a task that it has room for, and which cards would it be?"""

from __future__ import annotations

from ..protocol.resources import Request
from . import warm
from .fleet import Card, Node, card_charge
from .vacancy import free_cards


def how_well(node: Node, request: Request) -> tuple[float, ...]:
    """Score a node that has room; smaller is better.

    A task without GPU keeps away from nodes with cards to lend; one with a GPU goes where the
    least VRAM is left over (best fit), so that large cards stay whole; a call goes where its model
    is loaded, another task that names one where that is known. Then the emptier node.
    """
    load = node.cpus_used_milli / max(node.capabilities.cpus_milli, 1)
    if request.handler:
        return (*_warmth(node, request), load)
    strange = float(bool(request.model) and not warm.knows(node, request.model))
    if not request.cards:
        idle_cards = sum(card.untouched for card in node.cards.values())
        return (strange, float(idle_cards > 0), load)
    left = sum(
        card.vram_free_bytes - card_charge(request, card.gpu)[1]
        for card in pick_cards(node, request)
    )
    return (strange, float(left), load)


def _warmth(node: Node, request: Request) -> tuple[float, float, float]:
    """Score a node for a call: its model is loaded, else loads on the tightest card without it."""
    if warm.idle_seat(node, request) is not None:
        return (0.0, 0.0, 0.0)
    wanted = node.handlers[request.handler].vram_bytes
    cards = warm.cards_of_call(node, request)
    left = sum(card.vram_free_bytes - wanted for card in cards)
    return (1.0, float(warm.has_it(node, request, cards)), float(left))


def pick_cards(node: Node, request: Request) -> list[Card]:
    """Choose the cards of a node that has room: the tightest fit, cards in use first."""
    if request.handler:
        return warm.cards_of_call(node, request)
    if not request.cards:
        return []
    free = free_cards(node, request)
    free.sort(
        key=lambda card: (card.suspected, card.vram_free_bytes, card.gpu.index, card.gpu.uuid)
    )
    return free[: request.cards]
