"""How well does a node suit a task that it has room for, and which of its cards would it be?

A score is between 0 and 1, larger is better, and has a name. A policy says how much each counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from ..protocol.resources import MILLI, Request
from . import warm
from .fleet import Card, Node
from .vacancy import free_cards

GIB = 1 << 30
PACK, SPREAD, FASTEST = "pack", "spread", "fastest"

# Whatever else a policy is for: a model is not loaded anew where it is at hand.
_WARMTH = {"warm": 10.0, "another": 2.0}
POLICIES: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        # Full cards first, so that large ones and whole hosts stay free for those who need them.
        PACK: {**_WARMTH, "fit": 1.0, "hosts": 0.1, "apart": 1.0, "idle": 0.01},
        # Empty cards first: most room to grow, least of a neighbour.
        SPREAD: {**_WARMTH, "room": 1.0, "apart": 1.0, "idle": 0.1},
        # The quickest model of card first, as measured; packed among equal ones.
        FASTEST: {**_WARMTH, "speed": 1.0, "fit": 0.1, "apart": 1.0, "idle": 0.01},
    }
)


@dataclass(frozen=True, slots=True)
class Rating:
    """What makes a place good: the weight of each score, and how quick each model of card is.

    `order` is the policy by which the cards of one node are chosen. `speeds` are relative: twice
    as much is half of the time. What is not in it is 1.
    """

    order: str = PACK
    weights: Mapping[str, float] = field(default_factory=lambda: POLICIES[PACK])
    speeds: Mapping[str, float] = field(default_factory=dict)

    def measured(self, speeds: Mapping[str, float]) -> Rating:
        """Return this rating with what was measured where nothing else is said."""
        return replace(self, speeds={**speeds, **self.speeds})

    def speed(self, card: Card) -> float:
        return self.speeds.get(card.gpu.name, 1.0)


PACKED = Rating()


def how_well(node: Node, request: Request, rating: Rating = PACKED) -> float:
    """Rate a node that has room for a request; more is better."""
    if not (request.cards or request.handler or request.model):  # most of all: without the names
        weights = rating.weights
        return weights.get("apart", 0.0) * apart(node) + weights.get("idle", 0.0) * idle(node)
    return sum(weight * score for score, weight in scores(node, request, rating).values())


def scores(node: Node, request: Request, rating: Rating) -> dict[str, tuple[float, float]]:
    """Return by name each score that counts for a request, with its weight."""
    cards = pick_cards(node, request, rating)
    judges = _OF_CARDS if request.cards or request.handler else _OF_HOSTS
    return {
        name: (judge(node, request, cards, rating), rating.weights[name])
        for name, judge in judges.items()
        if rating.weights.get(name)
    }


def pick_cards(node: Node, request: Request, rating: Rating = PACKED) -> list[Card]:
    """Choose the cards of a node that has room; those under suspicion come last."""
    if request.handler:
        return warm.cards_of_call(node, request)
    if not request.cards:
        return []
    free = free_cards(node, request)
    first = _CARD_ORDER[rating.order]
    free.sort(
        key=lambda card: (card.suspected, *first(card, rating), card.gpu.index, card.gpu.uuid)
    )
    return free[: request.cards]


# --- which cards of a node -------------------------------------------------------------------


def _tightest(card: Card, _rating: Rating) -> tuple[float, ...]:
    return (card.vram_free_bytes,)


def _emptiest(card: Card, _rating: Rating) -> tuple[float, ...]:
    return (card.share_milli, -card.vram_free_bytes / max(card.gpu.memory_bytes, 1))


def _quickest(card: Card, rating: Rating) -> tuple[float, ...]:
    return (-rating.speed(card), card.vram_free_bytes)


_CARD_ORDER: dict[str, Callable[[Card, Rating], tuple[float, ...]]] = {
    PACK: _tightest,
    SPREAD: _emptiest,
    FASTEST: _quickest,
}


# --- how well ----------------------------------------------------------------------------------


def fit(node: Node, request: Request, cards: list[Card], rating: Rating) -> float:
    """Rate how little VRAM is left over on the cards; of whole cards, beyond what was asked."""
    left = sum(card.vram_free_bytes - _needed(node, card, request) for card in cards)
    return 1 / (1 + max(left, 0) / GIB)


def room(node: Node, request: Request, cards: list[Card], rating: Rating) -> float:
    """Rate how empty the fullest of the cards is."""
    shares = (card.vram_free_bytes / max(card.gpu.memory_bytes, 1) for card in cards)
    return max(0.0, min(shares, default=1.0))


def hosts(node: Node, request: Request, cards: list[Card], rating: Rating) -> float:
    """Rate how few untouched cards the node has: a task that wants many finds them together."""
    untouched = sum(card.untouched for card in node.cards.values())
    return 1 / (1 + untouched)


def speed(node: Node, request: Request, cards: list[Card], rating: Rating) -> float:
    """Rate how quick the slowest of the cards is, beside the quickest that is known."""
    quickest = max([1.0, *rating.speeds.values()])
    return min((rating.speed(card) for card in cards), default=quickest) / quickest


def warmth(node: Node, request: Request, cards: list[Card], rating: Rating) -> float:
    """Rate whether the model of a task is loaded and idle there, as far as that is known."""
    if request.handler:
        return float(warm.idle_seat(node, request) is not None)
    return float(not request.model or warm.knows(node, request.model))


def another(node: Node, request: Request, cards: list[Card], rating: Rating) -> float:
    """Rate whether a model that must be loaded once more would be on a card without it."""
    return float(not (request.handler and warm.has_it(node, request, cards)))


def idle(node: Node) -> float:
    """Rate how many of the CPUs are free."""
    return 1 - node.cpus_used_milli / max(node.capabilities.cpus_milli, 1)


def apart(node: Node) -> float:
    """Rate whether a task without GPU takes no CPU from cards that could be lent."""
    return 0.0 if any(card.untouched for card in node.cards.values()) else 1.0


def _needed(node: Node, card: Card, request: Request) -> int:
    if request.handler:
        return node.handlers[request.handler].vram_bytes
    if request.gpu_milli:
        return card.gpu.memory_bytes * request.gpu_milli // MILLI
    return request.vram_bytes


def _idle(node: Node, request: Request, cards: list[Card], rating: Rating) -> float:
    return idle(node)


def _apart(node: Node, request: Request, cards: list[Card], rating: Rating) -> float:
    return apart(node)


_Judge = Callable[[Node, Request, list[Card], Rating], float]
_OF_HOSTS: dict[str, _Judge] = {"warm": warmth, "apart": _apart, "idle": _idle}
_OF_CARDS: dict[str, _Judge] = {
    "warm": warmth,
    "another": another,
    "fit": fit,
    "room": room,
    "hosts": hosts,
    "speed": speed,
    "idle": _idle,
}
NAMES = frozenset({*_OF_HOSTS, *_OF_CARDS})
"""All scores that a policy can weigh."""
