"""Which cards of a node are of the kind that a task asks for, whatever is lent of them?"""

from __future__ import annotations

import functools
import re

from ..protocol.resources import Request
from .fleet import Card, Node


@functools.lru_cache(maxsize=256)
def _pattern(gpu_type: str) -> re.Pattern[str]:
    return re.compile(gpu_type, re.IGNORECASE)


def is_type(card: Card, request: Request) -> bool:
    return not request.gpu_type or bool(_pattern(request.gpu_type).search(card.gpu.name))


def is_able(card: Card, request: Request) -> bool:
    """Tell whether a card has the compute capability asked for."""
    return card.gpu.cc >= request.gpu_cc


def goes_together(card: Card, request: Request) -> bool:
    """Tell whether a task may have a card next to others: CUDA shows it one MIG device at most."""
    return request.gpus < 2 or not card.gpu.mig


def cards_to_lend(node: Node) -> list[Card]:
    """List the cards that a node has at its best; one that is cut into MIG devices is those."""
    parents = {card.gpu.parent for card in node.cards.values() if card.gpu.mig}
    return [
        card
        for card in node.cards.values()
        if card.gpu.memory_bytes and card.gpu.uuid not in parents
    ]


def suits(card: Card, request: Request) -> bool:
    """Tell whether a card is what is asked for, were it free."""
    return (
        card.gpu.memory_bytes >= request.vram_bytes
        and is_able(card, request)
        and goes_together(card, request)
        and is_type(card, request)
    )
