"""Which models are in memory on a node, which calls are counted to each, and what is promised?

The word of the node is taken as it comes, with every heartbeat; what was granted since is kept
beside it until a heartbeat has seen the grant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from ..protocol.capabilities import Capabilities
from ..protocol.measures import Resident

RAN_MAX = 64
READY, LOADING, FAILED, COLD = "ready", "loading", "failed", "cold"


class Seat(NamedTuple):
    """Where calls of a model run: in the workers that hold it on one card ("": on none)."""

    handler: str
    model: str
    gpu_uuid: str


NO_SEAT = Seat("", "", "")


@dataclass(slots=True)
class Promise:
    """A load that was granted, or a model that was asked to leave, until `rev` is seen."""

    seat: Seat
    vram_bytes: int
    rev: int


@dataclass(slots=True)
class Seats:
    """The models of one node: `residents` as it reported them, `calls` as the ledger has them.

    `sizes` are of handlers by name: how many calls one worker takes at a time, if several.
    `loads` are by (task, attempt), `leaving` were asked to go; `since_ns` is when each was ready,
    `used` numbers the last use of each in this scheduler's life.
    """

    residents: list[Resident] = field(default_factory=list)
    calls: Counter[Seat] = field(default_factory=Counter)
    loads: dict[tuple[int, int], Promise] = field(default_factory=dict)
    leaving: list[Promise] = field(default_factory=list)
    since_ns: dict[Seat, int] = field(default_factory=dict)
    used: dict[Seat, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    seen_rev: int = -1
    _uses: int = 0
    _uses_reported: int = 0
    _known: list[tuple[object, ...]] = field(default_factory=list)

    def report(self, residents: list[Resident], rev: int, now_ns: int) -> bool:
        """Take in what is in memory, said after `rev` was seen; tell whether that is new."""
        loads, leaving = len(self.loads), len(self.leaving)
        self.loads = {key: load for key, load in self.loads.items() if load.rev > rev}
        self.leaving = [each for each in self.leaving if each.rev > rev]
        self.residents, self.seen_rev = residents, rev
        self._uses_reported = self._uses
        self.used = {each: self.used.get(each, 0) for each in map(seat_of, residents)}
        ready = [seat_of(each) for each in residents if each.state == READY]
        self.since_ns = {seat: self.since_ns.get(seat, now_ns) for seat in ready}
        known: list[tuple[object, ...]] = [
            (*seat_of(each), each.state, each.vram_bytes) for each in residents
        ]
        is_new = known != self._known or (loads, leaving) != (len(self.loads), len(self.leaving))
        self._known = known
        return is_new

    def forget_promises(self, offered: Collection[int]) -> None:
        """Take what a node says of its models for all of them, but for the tasks on their way."""
        self.loads = {key: load for key, load in self.loads.items() if key[0] in offered}
        self.leaving.clear()

    def count_call(self, seat: Seat, sign: int) -> None:
        """Count a call that begins, or no more one that ended."""
        self.calls[seat] += sign
        self._uses += 1
        self.used[seat] = self._uses

    def idle_ms(self, resident: Resident) -> int:
        """Return how long a model has been idle, as far as that is known."""
        seat = seat_of(resident)
        return 0 if self.used.get(seat, 0) > self._uses_reported else resident.idle_ms

    def by_use(self) -> list[Resident]:
        """Return the models, the least recently used first."""
        return sorted(
            self.residents, key=lambda each: (self.used.get(seat_of(each), 0), -each.idle_ms)
        )

    def ready(self, seat: Seat) -> int:
        """Count the workers that can take calls now, or have them."""
        return self._count(seat, READY) - self._left(seat)

    def coming(self, handler: str, model: str) -> int:
        """Count the workers that are being loaded, on any card."""
        loads = sum(load.seat[:2] == (handler, model) for load in self.loads.values())
        return loads + sum(
            each.state == LOADING and (each.handler, each.model) == (handler, model)
            for each in self.residents
        )

    def idle(self, seat: Seat) -> int:
        """Count the workers without a call; a call that was granted with the load of its model is
        of the worker that is promised."""
        return self.ready(seat) - _running(self, seat)

    def loaded(self, handler: str, model: str) -> list[Seat]:
        """Name where a model can be called or will be, best first: idle, then used last."""
        found = dict.fromkeys(
            seat_of(each)
            for each in reversed(self.by_use())
            if each.state == READY and (each.handler, each.model) == (handler, model)
        )
        usable = [seat for seat in found if self.ready(seat) > 0]
        return sorted(usable, key=lambda seat: (self.idle(seat) <= 0, room(self, seat) <= 0))

    def count(self, handler: str) -> int:
        """Count the workers of a handler, those that are to come included."""
        here = sum(
            each.handler == handler and each.state in (READY, LOADING) for each in self.residents
        )
        return here + sum(load.seat.handler == handler for load in self.loads.values())

    def calls_of(self, handler: str) -> int:
        """Count the calls of a handler that run here, or wait here for its model."""
        return sum(calls for seat, calls in self.calls.items() if seat.handler == handler)

    def failure(self, handler: str, model: str) -> str | None:
        """Return why a model did not load, None when that did not fail."""
        for each in self.residents:
            if each.state == FAILED and (each.handler, each.model) == (handler, model):
                return each.error
        return None

    def held_bytes(self) -> Counter[str]:
        """Return what models hold, or are about to, of each card."""
        held: Counter[str] = Counter()
        for each in self.residents:
            held[each.gpu_uuid] += each.vram_bytes
        for load in self.loads.values():
            held[load.seat.gpu_uuid] += load.vram_bytes
        return held

    def _count(self, seat: Seat, state: str) -> int:
        return sum(each.state == state and seat_of(each) == seat for each in self.residents)

    def _left(self, seat: Seat) -> int:
        return sum(each.seat == seat for each in self.leaving)


def room(seats: Seats, seat: Seat) -> int:
    """Count the calls that its workers would take now, also beside those that they have."""
    return seats.ready(seat) * seats.sizes.get(seat.handler, 1) - _running(seats, seat)


def _running(seats: Seats, seat: Seat) -> int:
    promised = sum(load.seat == seat for load in seats.loads.values())
    return max(seats.calls[seat] - promised, 0)


def seat_of(resident: Resident) -> Seat:
    return Seat(resident.handler, resident.model, resident.gpu_uuid)


def declared(capabilities: Capabilities) -> list[Resident]:
    """Return the models of a node that does not report them: all workers that it declares."""
    found = []
    for handler in capabilities.handlers:
        if handler.on_demand:
            continue
        cards: Iterable[str] = handler.gpu_uuids
        if not handler.vram_bytes:
            cards = [""] * handler.workers
        found += [
            Resident(
                handler.name, handler.model_for(""), uuid, handler.vram_bytes, handler.state,
                error=handler.error,
            )
            for uuid in cards
        ]  # fmt: skip
    return found


def note_run(ran: dict[str, None], model: str) -> None:
    """Note which model a task named that begins; of those that began long ago none is kept."""
    ran.pop(model, None)
    ran[model] = None
    if len(ran) > RAN_MAX:
        del ran[next(iter(ran))]
