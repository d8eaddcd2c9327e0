"""What would a node have left for others had a task that waits for it begun there already?

The answer is a copy of the node's ledger, never kept: what runs and must end for that task is taken
out, the task put in. What waits behind it may have what is free both in that copy and in truth.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from copy import copy
from dataclasses import replace

from ..protocol.resources import Request
from .countables import lacks_now
from .fleet import RESIDENTS_SINCE, Card, Node, card_charge
from .scores import pick_cards
from .task import Attempt, Task
from .vacancy import free_cards


def after(node: Node, gone: Iterable[int]) -> Node:
    """Return a node as it would be without some of the tasks that it holds.

    Models without calls are taken to have left: room is made for who has waited.
    """
    shadow = copy(node)
    shadow.held, shadow.backlog = dict(node.held), dict(node.backlog)
    shadow.resources_used = Counter(node.resources_used)
    shadow.room_bytes = dict(node.room_bytes)
    shadow.cards = {uuid: copy(card) for uuid, card in node.cards.items()}
    for task_id in gone:
        attempt = shadow.held.pop(task_id).live
        assert attempt is not None
        is_sent_ahead = shadow.backlog.pop(task_id, None) is not None
        if not (is_sent_ahead or attempt.rides):  # one that rides has no slot of its own
            _charge(shadow, attempt.request, attempt.charges, -1)
    if node.protocol >= RESIDENTS_SINCE and node.seats.residents:
        called = {task.live.seat.gpu_uuid for task in shadow.held.values() if task.live}
        for uuid, card in shadow.cards.items():
            if uuid not in called:
                card.resident_bytes = 0
    return shadow


def begin(shadow: Node, task: Task, request: Request, cards: Iterable[str]) -> None:
    """Put a task into a shadow that waits; a card may have vanished since it was chosen."""
    found = [shadow.cards[uuid] for uuid in cards if uuid in shadow.cards]
    charges = [(card.gpu.uuid, *card_charge(request, card.gpu)) for card in found]
    shadow.held[task.id] = task
    _charge(shadow, request, charges, 1)


def _charge(
    shadow: Node, request: Request, charges: Iterable[tuple[str, int, int]], sign: int
) -> None:
    shadow.cpus_used_milli += sign * request.cpus_milli
    shadow.memory_used_bytes += sign * request.memory_bytes
    shadow.exclusives += sign * request.exclusive
    for name, count in request.resources:
        shadow.resources_used[name] += sign * count
    for uuid, share_milli, vram_bytes in charges:
        card = shadow.cards.get(uuid)
        if card is not None:
            card.share_milli += sign * share_milli
            card.vram_bytes += sign * vram_bytes
        if uuid in shadow.room_bytes:
            shadow.room_bytes[uuid] -= sign * vram_bytes


def has_host_room(shadow: Node, request: Request) -> bool:
    """Tell whether a shadow has what is asked for, cards apart."""
    if shadow.exclusives or (request.exclusive and shadow.held):
        return False
    return shadow.has_room(request) and not lacks_now(shadow, request)


def cards_for(shadow: Node, request: Request, only: Iterable[str] = ()) -> list[Card] | None:
    """Return the cards that a request would get of a shadow, of `only` some; None: too few."""
    if not request.cards:
        return []
    chosen = set(only)
    if chosen:
        found = [card for card in free_cards(shadow, request) if card.gpu.uuid in chosen]
    else:
        found = pick_cards(shadow, request)
    return found[: request.cards] if len(found) >= request.cards else None


def fits(shadow: Node, request: Request, only: Iterable[str] = ()) -> bool:
    return has_host_room(shadow, request) and cards_for(shadow, request, only) is not None


def touches(node: Node, attempt: Attempt) -> tuple[str, ...]:
    """Return the cards of a node that an attempt keeps from others."""
    if attempt.seat.gpu_uuid:
        return (attempt.seat.gpu_uuid,)
    return tuple(uuid for uuid, _, _ in attempt.charges)


def both(node: Node, shadow: Node) -> Node:
    """Return a node that has free only what both have: a request fits it if it fits each."""
    found = copy(shadow)
    found.held = {**node.held, **shadow.held}
    found.cpus_used_milli = max(node.cpus_used_milli, shadow.cpus_used_milli)
    found.memory_used_bytes = max(node.memory_used_bytes, shadow.memory_used_bytes)
    found.exclusives = max(node.exclusives, shadow.exclusives)
    found.resources_used = node.resources_used | shadow.resources_used
    found.room_bytes = {
        uuid: min(room, shadow.room_bytes[uuid]) for uuid, room in node.room_bytes.items()
    }
    for uuid, card in found.cards.items():
        true = node.cards[uuid]
        card.share_milli = max(card.share_milli, true.share_milli)
        card.vram_bytes = max(card.vram_bytes, true.vram_bytes)
        card.resident_bytes = true.resident_bytes
    return found


def close(shadow: Node, uuid: str, why: str) -> None:
    """Have a card of a shadow lent to nobody, also not by a model that is loaded there."""
    card = shadow.cards[uuid]
    card.gpu = replace(card.gpu, withheld=card.gpu.withheld or why)
