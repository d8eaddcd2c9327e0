"""Which models leave their memory so that a task finds room, and for whom is that room kept?

A model with calls never leaves; one that calls wait for only when it was loaded for `warm_wait`,
and for a task that waited as long. The node that is asked proves that the memory is free, and says
so; until then the ledger counts it as taken. The card is kept for the task meanwhile, for a while.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ..protocol.measures import Resident
from ..protocol.messages import Evict
from ..protocol.resources import MILLI, Request
from . import warm, warmth
from .countables import lacks_now
from .events import Now
from .feasible import may_ever
from .fleet import RESIDENTS_SINCE, Card, Node, card_charge
from .records import Effects, ToNode
from .seats import READY, Promise, Seat, seat_of
from .suiting import cards_to_lend, suits
from .task import State, Task

if TYPE_CHECKING:
    from .core import Core

KEPT_NS = 45_000_000_000
"""How long room is kept: the worker's grace, and as long as a node waits for its card."""


@dataclass(slots=True)
class Claim:
    """Cards of a node that are cleared for a task, until it is placed or its time is over.

    Those in `seats` were asked to leave with `rev`.
    """

    task: int
    request: Request
    node: str
    cards: tuple[str, ...]
    seats: tuple[Seat, ...]
    until_ns: int
    rev: int


class Plan(NamedTuple):
    """What would have to leave, in the order of preference: first `wanted`, how many others wait
    for; then `idle_ms`, how long the one used last has been idle, and what is left over."""

    wanted: int
    busy_rank: int
    left_bytes: int
    node: Node
    cards: tuple[str, ...]
    victims: tuple[Resident, ...]
    request: Request


class Evictions:
    """What could leave in one turn of placement."""

    def __init__(self, core: Core, now: Now, effects: Effects) -> None:
        self._core = core
        self._now = now
        self._effects = effects
        self._wanted: set[tuple[str, str]] | None = None
        self._able = [
            node
            for node in core.fleet.nodes.values()
            if node.seats.residents and node.takes_work and node.protocol >= RESIDENTS_SINCE
        ]

    @property
    def are_possible(self) -> bool:
        """Tell whether any node holds a model that could leave."""
        return bool(self._able)

    def make_room(self, task: Task, nodes: Iterable[Node]) -> None:
        """Ask one node to let models go where a task that finds no room would then have it."""
        core, request = self._core, task.spec.request
        if not self._able or request in core.claims:
            return
        names = {node.name for node in nodes}
        able = [node for node in self._able if node.name in names]
        plans = [
            plan for option in core.options.of(request) for plan in self._of(task, option, able)
        ]
        best = min(plans, key=lambda plan: (*plan[:3], plan.node.name, plan.cards), default=None)
        if best is None:
            return
        free_ns = self._protected_until_ns(task, best)
        if free_ns > self._now.mono_ns:
            core.warmth.wake(free_ns)
        else:
            _ask(core, task, best, self._now, self._effects)

    def _of(self, task: Task, option: Request, able: list[Node]) -> Iterator[Plan]:
        """Yield what could leave for one of the requests that will do."""
        if not (option.cards or option.handler):
            return
        if option.handler:
            until_ns = warmth.patient_until_ns(
                self._core, task, option, self._core.fleet.nodes.values(), self._now
            )
            if until_ns is not None:
                self._core.warmth.wake(until_ns)
                return
        for node in able:
            if _could_serve(node, option):
                yield from _plans(node, option, self._wanted_on(node))

    def _wanted_on(self, node: Node) -> set[tuple[str, str]]:
        """Return the models of a node for which calls wait in the queue."""
        if self._wanted is None:
            heads = (task.spec.request for task in self._core.buckets.heads())
            self._wanted = {(each.handler, each.model) for each in heads if each.handler}
        return {
            (name, node.handlers[name].model_for(model))
            for name, model in self._wanted
            if name in node.handlers
        }

    def _protected_until_ns(self, task: Task, plan: Plan) -> int:
        """Return until when a plan's models stay because calls wait for them (0: they do not)."""
        if not plan.wanted:
            return 0
        longest_ns = self._core.settings.warm_wait_ns
        since_ns = self._now.mono_ns - self._core.warmth.waited_ns(task, self._now)
        loaded_ns = [plan.node.seats.since_ns.get(seat_of(each), 0) for each in plan.victims]
        return max(since_ns, *loaded_ns) + longest_ns


def _could_serve(node: Node, request: Request) -> bool:
    """Tell whether a node takes a request, but for the room on its cards."""
    is_shared = not (node.exclusives or (request.exclusive and node.held))
    if request in node.shunned or not is_shared or not node.has_room(request):
        return False
    if warm.unserved(node, request.handler):
        return False
    return not lacks_now(node, request) and not may_ever(node, request)


def _plans(node: Node, request: Request, demand: set[tuple[str, str]]) -> Iterator[Plan]:
    wanted = {
        (name, node.handlers[name].model_for(model))
        for name, model in demand
        if name in node.handlers
    }
    idle = _idle(node)
    if request.handler:
        handler = node.handlers[request.handler]
        if node.seats.failure(handler.name, warm.model_of(node, request)) is not None:
            return
        if node.seats.count(handler.name) >= handler.workers:
            yield from _instead_of_another(node, request, idle, wanted)
            return
        if not handler.vram_bytes:
            return
    found = []
    for card in cards_to_lend(node):
        victims = _victims(node, card, request, [v for v in idle if v.gpu_uuid == card.gpu.uuid])
        if victims is not None:
            found.append((*_cost(node, card, victims, wanted), card.gpu.uuid, victims))
    found.sort(key=lambda row: row[:4])
    chosen = found[: 1 if request.handler else request.cards]
    if len(chosen) < (1 if request.handler else request.cards):
        return
    leaving = tuple(victim for row in chosen for victim in row[4])
    if leaving:
        yield Plan(
            sum(row[0] for row in chosen),
            max(row[1] for row in chosen),
            sum(row[2] for row in chosen),
            node,
            tuple(row[3] for row in chosen),
            leaving,
            request,
        )


def _instead_of_another(
    node: Node, request: Request, idle: list[Resident], wanted: set[tuple[str, str]]
) -> Iterator[Plan]:
    """Replace a model of the same handler, which has as many workers as it may."""
    for victim in idle:
        if victim.handler == request.handler and _is_lendable(node, victim.gpu_uuid, request):
            is_wanted = int((victim.handler, victim.model) in wanted)
            cards = (victim.gpu_uuid,) if victim.gpu_uuid else ()
            yield Plan(is_wanted, -node.seats.idle_ms(victim), 0, node, cards, (victim,), request)


def _is_lendable(node: Node, uuid: str, request: Request) -> bool:
    card = node.cards.get(uuid)
    if card is None:
        return not uuid
    return not card.closed and card.claimed_by in (None, request)


def _idle(node: Node) -> list[Resident]:
    """Return the models without calls, the least recently used first."""
    left = Counter({seat: node.seats.idle(seat) for seat in map(seat_of, node.seats.residents)})
    found = []
    for each in node.seats.by_use():
        if each.state == READY and left[seat_of(each)] > 0:
            left[seat_of(each)] -= 1
            found.append(each)
    return found


def _victims(
    node: Node, card: Card, request: Request, idle: list[Resident]
) -> list[Resident] | None:
    """Return which of the idle models of a card must leave for a request; None: it is in vain."""
    if card.closed or card.claimed_by not in (None, request) or not card.gpu.memory_bytes:
        return None
    free_bytes = card.vram_free_bytes
    if request.handler:
        share_milli, wanted_bytes = 0, node.handlers[request.handler].vram_bytes
    else:
        if not suits(card, request):
            return None
        share_milli, wanted_bytes = card_charge(request, card.gpu)
    if card.share_milli + share_milli > MILLI:
        return None
    victims = []
    for each in idle:
        if free_bytes >= wanted_bytes:
            break
        victims.append(each)
        free_bytes += each.vram_bytes
    return victims if free_bytes >= wanted_bytes else None


def _cost(
    node: Node, card: Card, victims: list[Resident], wanted: set[tuple[str, str]]
) -> tuple[int, int, int]:
    free_bytes = card.vram_free_bytes + sum(victim.vram_bytes for victim in victims)
    count = sum((victim.handler, victim.model) in wanted for victim in victims)
    recent = -min((node.seats.idle_ms(victim) for victim in victims), default=1 << 62)
    return count, recent, free_bytes


def _ask(core: Core, task: Task, plan: Plan, now: Now, effects: Effects) -> None:
    node = plan.node
    node.rev += 1
    for victim in plan.victims:
        node.seats.leaving.append(Promise(seat_of(victim), victim.vram_bytes, node.rev))
    for uuid in plan.cards:
        node.cards[uuid].claimed_by = plan.request
    node.entries += 1
    core.claims[task.spec.request] = Claim(
        task.id,
        plan.request,
        node.name,
        plan.cards,
        tuple(map(seat_of, plan.victims)),
        now.mono_ns + KEPT_NS,
        node.rev,
    )
    core.warmth.wake(now.mono_ns + KEPT_NS)
    message = Evict(
        node.incarnation,
        node.rev,
        [victim.handler for victim in plan.victims],
        [victim.model for victim in plan.victims],
        [victim.gpu_uuid for victim in plan.victims],
    )
    effects.to_nodes.append(ToNode(node.name, message))


def end_claims(core: Core, now: Now) -> None:
    """Keep no room any more for tasks that do not wait for it, or have for too long."""
    for request, claim in list(core.claims.items()):
        task = core.tasks.get(claim.task)
        is_over = task is None or task.state is not State.QUEUED or now.mono_ns >= claim.until_ns
        if is_over or _is_in_vain(core.fleet.nodes.get(claim.node), claim):
            drop(core, request)


def _is_in_vain(node: Node | None, claim: Claim) -> bool:
    """Tell whether a node heard what is to leave and keeps it, or holds another model instead."""
    if node is None or node.lost:
        return True
    if node.seats.seen_rev < claim.rev:
        return False
    stays = {seat_of(each) for each in node.seats.residents if each.state == READY}
    if not stays.isdisjoint(claim.seats):
        return True
    handler = node.handlers.get(claim.request.handler)
    return handler is not None and node.seats.count(handler.name) >= handler.workers


def drop(core: Core, request: Request) -> None:
    """Let others have the room that was kept for a request."""
    claim = core.claims.pop(request, None)
    if claim is None:
        return
    node = core.fleet.nodes.get(claim.node)
    if node is None:
        return
    core.fleet.changed(node)
    node.entries += 1
    for card in node.cards.values():
        if card.gpu.uuid in claim.cards and card.claimed_by == claim.request:
            card.claimed_by = None


def explain(core: Core, task: Task) -> str:
    """Say where room is made for a task, and what leaves; empty when none is."""
    claim = core.claims.get(task.spec.request)
    if claim is None or claim.task != task.id:
        return ""
    names = ", ".join(seat.model or seat.handler for seat in claim.seats)
    return f"{claim.node} makes room for it: {names} leaves its memory there"
