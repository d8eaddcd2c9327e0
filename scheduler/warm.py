"""Where is the model of a call in memory, and where could it be loaded now?"""

from __future__ import annotations

from collections.abc import Iterable

from ..protocol.capabilities import Handler
from ..protocol.resources import Request, format_bytes
from . import measured
from .fleet import RESIDENTS_SINCE, Card, Node, Use
from .seats import COLD, FAILED, LOADING, READY, Promise, Seat, room
from .suiting import cards_to_lend
from .task import Attempt, Task


def idle_seat(node: Node, request: Request) -> Seat | None:
    """Return where a call can run at once: the idle worker that was used last, else beside others
    in one that takes several at a time."""
    return next((seat for seat in _loaded(node, request) if room(node.seats, seat) > 0), None)


def unserved(node: Node, name: str) -> str:
    """Say why a node takes no calls of a handler that it has; empty when it does."""
    if name in node.disabled:
        return f"handler {name} is disabled there: {node.disabled[name]}"
    handler = node.handlers.get(name)
    if handler is not None and handler.refused:
        return f"cannot serve handler {name}: {handler.refused}"
    return ""


def _loaded(node: Node, request: Request) -> list[Seat]:
    """Return where the model of a call is loaded on a card that gets work, best first."""
    handler = node.handlers.get(request.handler)
    if handler is None or unserved(node, handler.name):
        return []
    found = node.seats.loaded(handler.name, handler.model_for(request.model))
    return [seat for seat in found if not _closed(node, seat)]


def _closed(node: Node, seat: Seat) -> str:
    """Say why the card of a loaded model gets no work; empty when it does."""
    card = node.cards.get(seat.gpu_uuid)
    return card.closed if card is not None else ""


def model_of(node: Node, request: Request) -> str:
    """Return which model a worker of this node holds that serves a call."""
    return node.handlers[request.handler].model_for(request.model)


def is_about(node: Node, request: Request) -> bool:
    """Tell whether the model of a call is in memory of a node, or about to be."""
    handler = node.handlers.get(request.handler)
    if handler is None:
        return False
    model = handler.model_for(request.model)
    return bool(_loaded(node, request) or node.seats.coming(handler.name, model))


def has_a_place(node: Node, request: Request) -> bool:
    """Tell whether one more worker of a handler may be loaded, room on cards apart."""
    handler = node.handlers[request.handler]
    failed = node.seats.failure(handler.name, model_of(node, request)) is not None
    return (
        node.protocol >= RESIDENTS_SINCE
        and not failed
        and not unserved(node, handler.name)
        and node.seats.count(handler.name) < handler.workers
    )


def cards_to_load(node: Node, request: Request) -> list[Card]:
    """Return the cards with room for the model of a call, best first: where it is not loaded, then
    the tightest fit."""
    wanted = node.handlers[request.handler].vram_bytes
    free = [
        card
        for card in _lendable(node, request)
        if wanted <= card.vram_free_bytes and not measured.too_little(node, card, wanted)
    ]
    free.sort(key=lambda card: (card.vram_free_bytes, card.gpu.index, card.gpu.uuid))
    free.sort(key=lambda card: (card.suspected, has_it(node, request, [card])))
    return free


def has_it(node: Node, request: Request, cards: Iterable[Card]) -> bool:
    """Tell whether the model of a call is loaded on one of these cards already."""
    seats = node.seats.loaded(request.handler, model_of(node, request))
    return not {seat.gpu_uuid for seat in seats}.isdisjoint(card.gpu.uuid for card in cards)


def _lendable(node: Node, request: Request) -> list[Card]:
    cards = cards_to_lend(node)
    return [each for each in cards if not each.closed and each.claimed_by in (None, request)]


def refusal(node: Node, request: Request) -> str:
    """Say why a call can neither run in a loaded worker of a node now, nor have one loaded."""
    handler = node.handlers[request.handler]
    if why := unserved(node, handler.name):
        return why
    if idle_seat(node, request) is not None:
        return ""
    if has_a_place(node, request):
        if not handler.vram_bytes or cards_to_load(node, request):
            return ""
        most = max((each.vram_free_bytes for each in _lendable(node, request)), default=0)
        wanted = format_bytes(handler.vram_bytes)
        return (
            f"has at most {format_bytes(max(most, 0))} of VRAM free on one GPU, "
            f"{wanted} are wanted to load {_what(node, request)}"
        )
    return _why_not(node, request)


def _why_not(node: Node, request: Request) -> str:
    handler, model = node.handlers[request.handler], model_of(node, request)
    error = node.seats.failure(handler.name, model)
    if error is not None:
        return f"{_what(node, request)} is failed" + (f": {error}" if error else "")
    if _loaded(node, request):
        return f"all {loaded_workers(node, request)} workers of {_what(node, request)} are busy"
    if node.seats.coming(handler.name, model):
        return f"{_what(node, request)} is loading"
    if closed := node.seats.loaded(handler.name, model):
        return f"the GPU of {_what(node, request)} gets no work: {_closed(node, min(closed))}"
    others = f"all {handler.workers} workers of handler {handler.name} hold other models"
    return others if node.seats.count(handler.name) else f"handler {handler.name} is not loaded"


def _what(node: Node, request: Request) -> str:
    """Name what is loaded: a handler, or one of its models."""
    handler, model = node.handlers[request.handler], model_of(node, request)
    is_one_of_many = model and len(handler.models) > 1
    return (
        f"model {model} of handler {handler.name}" if is_one_of_many else f"handler {handler.name}"
    )


def handler_state(node: Node, handler: Handler) -> dict[str, str]:
    """Say whether any worker of a handler is loaded, and what went wrong with one."""
    found = [each for each in node.seats.residents if each.handler == handler.name]
    error = next((each.error for each in found if each.error), "")
    words = {each.state for each in found}
    state = next((word for word in (READY, LOADING, FAILED) if word in words), COLD)
    return {"state": state, "error": error}


def cards_of_call(node: Node, request: Request) -> list[Card]:
    """Return the card that a call is granted on a node that has room for it."""
    seat = idle_seat(node, request)
    if seat is not None:
        return [node.cards[seat.gpu_uuid]] if seat.gpu_uuid in node.cards else []
    if not node.handlers[request.handler].vram_bytes:
        return []
    return cards_to_load(node, request)[:1]


def calls_at_a_time(node: Node, request: Request) -> int:
    """Count the calls that the workers take which hold the model of a call."""
    return loaded_workers(node, request) * node.seats.sizes.get(request.handler, 1)


def loaded_workers(node: Node, request: Request) -> int:
    """Count the workers that hold the model of a call, busy ones included."""
    return sum(node.seats.ready(seat) for seat in _loaded(node, request))


def needs_load(node: Node, attempt: Attempt) -> bool:
    """Tell whether a call that is being granted is to have its model loaded."""
    if not attempt.request.handler or attempt.prefetched:
        return False
    return idle_seat(node, attempt.request) is None


def promise(node: Node, task: Task, attempt: Attempt) -> None:
    """Count the model that a granted call will have loaded, until the node says that it is."""
    seat = node.seat(attempt)
    vram_bytes = node.handlers[seat.handler].vram_bytes
    node.seats.loads[task.id, attempt.number] = Promise(seat, vram_bytes, attempt.rev)
    node.count_models()


def note_call(node: Node, attempt: Attempt, wall_ms: int) -> None:
    """Count a call that is granted, for whoever asks how much a handler is used."""
    if attempt.request.handler:
        use = node.handler_uses.setdefault(attempt.request.handler, Use())
        use.calls += 1
        use.last_ms = wall_ms


def knows(node: Node, model: str) -> bool:
    """Tell whether a model is loaded on a node, or a task that named it began there lately."""
    return model in node.ran or any(
        each.model == model and each.state == READY for each in node.seats.residents
    )


def renew(node: Node, task: Task, attempt: Attempt) -> None:
    """Keep the promise of an attempt that was offered again until that offer is seen."""
    found = node.seats.loads.get((task.id, attempt.number))
    if found is not None:
        found.rev = attempt.rev
