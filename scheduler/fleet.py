"""What the nodes have and what of it is lent: the scheduler's ledger, the first of two guards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from ..protocol.capabilities import BATCH_MAX, Capabilities, Gpu, Handler
from ..protocol.codec import VERSION
from ..protocol.configured import NodeConfig
from ..protocol.measures import GpuMeasure, Resident
from ..protocol.resources import MILLI, Request
from .fills import step
from .rides import Rides
from .seats import Seat, Seats, declared, note_run, room
from .task import Attempt, Task

RESIDENTS_SINCE = 4


@dataclass(slots=True)
class Card:
    """The ledger of one GPU: shares in 1/1000 and bytes of its memory.

    `cordoned` says why it gets no new work (see `cordons.py`); a `suspected` one is taken last.
    `claimed_by` is for whom alone room is being made on it (see `evictions.py`).
    """

    gpu: Gpu
    share_milli: int = 0
    vram_bytes: int = 0
    resident_bytes: int = 0
    cordoned: str = ""
    suspected: bool = False
    claimed_by: Request | None = None

    @property
    def closed(self) -> str:
        """Say why the card is not lent for now; empty when it is."""
        return self.cordoned or self.gpu.withheld

    @property
    def vram_free_bytes(self) -> int:
        """Return what is neither lent nor held by a resident; below 0 after a card shrank."""
        return self.gpu.memory_bytes - self.vram_bytes - self.resident_bytes

    @property
    def untouched(self) -> bool:
        return not (self.share_milli or self.vram_bytes or self.resident_bytes)


def card_charge(request: Request, gpu: Gpu) -> tuple[int, int]:
    """Return what a request takes of one granted card: (share in 1/1000, bytes)."""
    if request.gpus:
        return MILLI, gpu.memory_bytes
    if request.gpu_milli:
        return request.gpu_milli, gpu.memory_bytes * request.gpu_milli // MILLI
    return 0, request.vram_bytes


def is_part(request: Request) -> bool:
    """Tell whether a request wants so much VRAM of one card that may be shared."""
    return bool(request.vram_bytes) and not (request.gpus or request.others or request.handler)


def first_revision(epoch: int) -> int:
    """Return where the revisions of a scheduler's life begin: above all of its earlier lives.

    A heartbeat that a node sent to the scheduler before can then never seem to have seen what was
    offered since.
    """
    return epoch << 32


@dataclass(frozen=True, slots=True)
class Drain:
    """Why a node gets no new work since `since_ms`.

    What is left at `due_ms` moves on (0: it may end there).
    """

    reason: str
    since_ms: int
    due_ms: int


@dataclass(slots=True)
class Use:
    """How often a handler was called on a node in this scheduler's life, and when last."""

    calls: int = 0
    last_ms: int = 0


class Welcome(NamedTuple):
    """When the agent that counts was let in, up to which revision, and since which boot it runs."""

    at_ns: int
    rev: int
    boot_id: str


NOT_WELCOME = Welcome(0, 0, "")


@dataclass(slots=True)
class Node:
    """One node: what it said of itself, what it was lent, and how far messages got.

    `rev` numbers what is sent on its dispatch pipe. `held` are the tasks whose attempt lives
    there, `backlog` those of them that wait in its own queue, uncharged. A `suspect` node was
    silent for a while and gets no new work; a `lost` one was given up. `shunned` keeps requests
    that it refused away from it until a monotonic time. `exclusives` counts
    tasks that have it alone: one at most. `former` are earlier starts of its agent,
    whose words come too late. `boot_id` is of its host when it was heard last. `seen_ms` is when it
    was last heard in the scheduler's earlier lives, or when it was lost. `measures` are of its
    cards by UUID; `room_bytes` is what of them is left by now, `room_known_bytes` was so when tasks
    were placed by it last (see `measured.py`). `seats` are models in memory, `ran` those that
    functions and commands named which began here last, `rides` which calls share a slot.
    `disabled` says from which handlers calls are kept away, and why; `handler_orders` names the
    orders that it was told last (see `handler_orders.py`), `handler_uses` counts the calls that it
    was granted in this life. `config_digest` and `config` say what it goes by (see
    `configured.py`). `entries` counts what was entered in the ledger, for copies of it to be known
    as old. `parts` is of the whole fleet (see there).
    """

    name: str
    capabilities: Capabilities
    boot_id: str = ""
    protocol: int = VERSION
    incarnation: bytes = b""
    former: tuple[bytes, ...] = ()
    welcome: Welcome = NOT_WELCOME
    connected: bool = False
    suspect: bool = False
    lost: bool = False
    drain: Drain | None = None
    seen_ms: int = 0
    heard_ns: int = 0
    rev: int = 0
    heartbeat_seq: int = 0
    beat_ns: int = 0
    probe_age_ms: int = 0
    loop_lag_ms: int = 0
    cpus_used_milli: int = 0
    memory_used_bytes: int = 0
    resources_used: Counter[str] = field(default_factory=Counter)
    exclusives: int = 0
    cards: dict[str, Card] = field(default_factory=dict)
    handlers: dict[str, Handler] = field(default_factory=dict)
    held: dict[int, Task] = field(default_factory=dict)
    backlog: dict[int, Task] = field(default_factory=dict)
    shunned: dict[Request, int] = field(default_factory=dict)
    gpu_free_bytes: dict[str, int] = field(default_factory=dict)
    measures: dict[str, GpuMeasure] = field(default_factory=dict)
    room_bytes: dict[str, int] = field(default_factory=dict)
    room_known_bytes: dict[str, int] = field(default_factory=dict)
    seats: Seats = field(default_factory=Seats)
    disabled: dict[str, str] = field(default_factory=dict)
    handler_orders: bytes = b""
    handler_uses: dict[str, Use] = field(default_factory=dict)
    ran: dict[str, None] = field(default_factory=dict)
    config_digest: bytes = b""
    config: NodeConfig = field(default_factory=NodeConfig)
    rides: Rides = field(default_factory=Rides)
    entries: int = 0
    parts: Counter[int] = field(default_factory=Counter)

    @property
    def takes_work(self) -> bool:
        """Tell whether new work may be given at all."""
        return self.connected and not (self.suspect or self.lost or self.drain)

    def take_capabilities(self, capabilities: Capabilities) -> None:
        """Replace what the node has, keeping what it was lent.

        A card that vanished while lent stays in the ledger with no memory, until its tasks end.
        """
        before = self.cards
        self.capabilities = capabilities
        self.cards = {gpu.uuid: Card(gpu) for gpu in capabilities.gpus}
        for uuid, card in before.items():
            if uuid in self.cards:
                self.cards[uuid].claimed_by = card.claimed_by
            if card.share_milli or card.vram_bytes:
                kept = self._card(uuid)
                kept.share_milli, kept.vram_bytes = card.share_milli, card.vram_bytes
        self.handlers = {handler.name: handler for handler in capabilities.handlers}
        self.seats.sizes = {
            name: min(each.max_batch, BATCH_MAX)
            for name, each in self.handlers.items()
            if each.max_batch > 1
        }
        self.count_models()

    def take_residents(self, reported: list[Resident], rev: int, now_ns: int = 0) -> bool:
        """Take in which models are in memory, said after `rev`; tell whether that is new.

        A node of before protocol 4 does not say: all that it declares is taken to be there.
        """
        if self.protocol < RESIDENTS_SINCE:
            reported = declared(self.capabilities)
        is_new = self.seats.report(reported, rev, now_ns)
        if is_new:
            self.count_models()
        return is_new

    def seat(self, attempt: Attempt) -> Seat:
        """Return where a call of a handler runs."""
        request = attempt.request
        handler = self.handlers.get(request.handler)
        model = handler.model_for(request.model) if handler else request.model
        if attempt.gpus:
            return Seat(request.handler, model, attempt.gpus[0])
        found = self.seats.loaded(request.handler, model)  # it was sent ahead
        return found[0] if found else Seat(request.handler, model, "")

    def count_models(self) -> None:
        """Enter in the ledger what models hold of each card."""
        held = self.seats.held_bytes()
        for uuid, card in self.cards.items():
            card.resident_bytes = held[uuid]

    def add(self, task: Task, attempt: Attempt) -> None:
        """Enter an attempt: charged, or waiting in the node's queue when it is prefetched."""
        self.entries += 1
        self.held[task.id] = task
        self._count_part(attempt.request, 1)
        if attempt.prefetched:
            self.backlog[task.id] = task
        else:
            self._charge(attempt, 1)

    def remove(self, task: Task, attempt: Attempt) -> None:
        """Give back what an attempt held and let queued ones of the node move up."""
        self.entries += 1
        del self.held[task.id]
        self._count_part(attempt.request, -1)
        if attempt.prefetched:
            del self.backlog[task.id]
            return
        self._charge(attempt, -1)
        self._promote()

    def fits(self, request: Request) -> bool:
        """Tell whether what may be sent ahead can begin: its CPUs, memory and worker are free."""
        is_served = not request.handler or self.free_workers(request) > 0
        return self.has_room(request) and is_served

    def has_room(self, request: Request) -> bool:
        """Tell whether CPUs and memory are free, or the call of a handler needs none."""
        return _has_slot(self, request) or takes_along(self, request)

    def free_workers(self, request: Request) -> int:
        """Count the calls that the workers would take which hold the model of this one."""
        return sum(max(room(self.seats, seat), 0) for seat in _loaded(self, request))

    def _count_part(self, request: Request, sign: int) -> None:
        if is_part(request):
            self.parts[step(request.vram_bytes)] += sign

    def _charge(self, attempt: Attempt, sign: int) -> None:
        request = attempt.request
        if request.handler:  # its model has the card
            if not _count_call(self, attempt, sign):
                return
        elif sign > 0:
            if request.model:
                note_run(self.ran, request.model)
            attempt.charges = tuple(
                (uuid, *card_charge(request, self._card(uuid).gpu)) for uuid in attempt.gpus
            )
        self.cpus_used_milli += sign * request.cpus_milli
        self.memory_used_bytes += sign * request.memory_bytes
        self.exclusives += sign * request.exclusive
        for name, count in request.resources:
            self.resources_used[name] += sign * count
        for uuid, share_milli, vram_bytes in attempt.charges:
            card = self._card(uuid)
            card.share_milli += sign * share_milli
            card.vram_bytes += sign * vram_bytes
        if sign > 0 or attempt.is_spoken_for:
            self.speak_for(attempt, sign)
        attempt.is_spoken_for = sign > 0

    def speak_for(self, attempt: Attempt, sign: int) -> None:
        """Take what an attempt may use off the measured room, or give it back."""
        for uuid, _, vram_bytes in attempt.charges:
            if uuid in self.room_bytes:
                self.room_bytes[uuid] -= sign * vram_bytes

    def _card(self, uuid: str) -> Card:
        """Return a card; one that the node no longer has is kept with no memory to lend."""
        return self.cards.get(uuid) or self.cards.setdefault(uuid, Card(Gpu(uuid, "gone", 0)))

    def _promote(self) -> None:
        """Charge the front of the node's queue as the node starts it."""
        while self.backlog:
            task = next(iter(self.backlog.values()))
            attempt = task.live
            assert attempt is not None
            if not self.fits(attempt.request):
                return
            del self.backlog[task.id]
            attempt.prefetched = False
            self._charge(attempt, 1)


@dataclass(slots=True)
class Fleet:
    """All nodes ever seen and not forgotten.

    `shape_revision` grows when what nodes have changes (feasibility is cached on it), `revision`
    also when something became free: what could not be placed at a revision cannot be until it
    grows, and then only on a node that changed since. `parts` counts what its nodes hold that has
    a part of a card, by step of size (see `fills.py`).
    """

    nodes: dict[str, Node] = field(default_factory=dict)
    parts: Counter[int] = field(default_factory=Counter)
    revision: int = 0
    shape_revision: int = 0
    _all_changed_at: int = 0
    _changed_at: dict[str, int] = field(default_factory=dict)  # the node that changed last is last

    def gpus(self) -> Iterator[Gpu]:
        """Yield all cards of all nodes."""
        for node in self.nodes.values():
            yield from node.capabilities.gpus

    def changed_shape(self) -> None:
        self.shape_revision += 1
        self.changed_all()

    def changed(self, node: Node) -> None:
        """Have what waits look at a node again."""
        self.revision += 1
        self._changed_at.pop(node.name, None)
        self._changed_at[node.name] = self.revision

    def changed_all(self) -> None:
        """Have what waits look at every node again."""
        self.revision += 1
        self._all_changed_at = self.revision
        self._changed_at.clear()

    def changed_at(self, node: Node) -> int:
        """Return the revision at which something may have become free on a node last."""
        return self._changed_at.get(node.name, self._all_changed_at)

    def changed_since(self, revision: int) -> list[Node]:
        """Return the nodes on which something may have become free after a revision."""
        if revision < self._all_changed_at:
            return list(self.nodes.values())
        found = []
        for name, at in reversed(self._changed_at.items()):
            if at <= revision:
                break
            if name in self.nodes:
                found.append(self.nodes[name])
        return found


def takes_along(node: Node, request: Request, seat: Seat | None = None) -> bool:
    """Tell whether a call may join others in a worker that has its slot already."""
    if request.handler not in node.seats.sizes:
        return False
    if seat is None:
        seat = next(iter(_loaded(node, request)), None)
    if seat is None:
        return False
    workers = node.seats.ready(seat) if _has_slot(node, request) else 1
    return node.rides.has_place(seat, request, workers)


def _has_slot(node: Node, request: Request) -> bool:
    return (
        node.cpus_used_milli + request.cpus_milli <= node.capabilities.cpus_milli
        and node.memory_used_bytes + request.memory_bytes <= node.capabilities.memory_bytes
    )


def _loaded(node: Node, request: Request) -> list[Seat]:
    handler = node.handlers.get(request.handler)
    if handler is None:
        return []
    return node.seats.loaded(handler.name, handler.model_for(request.model))


def _count_call(node: Node, attempt: Attempt, sign: int) -> bool:
    """Count a call in the workers that it is for; tell whether its slot is to be counted."""
    if sign > 0:
        attempt.seat = node.seat(attempt)
        attempt.rides = takes_along(node, attempt.request, attempt.seat)
        node.rides.get_on(attempt)
    node.seats.count_call(attempt.seat, sign)
    return not attempt.rides if sign > 0 else node.rides.get_off(attempt)
