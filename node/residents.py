"""Which handlers does this node keep in memory, on which cards, and in what state?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from ..protocol.resources import format_bytes
from . import releases, usage
from .effects import OpenLane
from .slots import CardCharge, Charge
from .task import HANDLER_POOL

if TYPE_CHECKING:
    from .state import State

RETRY_NS_MIN = 1_000_000_000
RETRY_NS_MAX = 60_000_000_000
ERROR_CHARS_MAX = 500


class ResidentState(Enum):
    """Where a resident is; the values are those of the wire."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(slots=True)
class Resident:
    """One worker of a handler; `vram_bytes` 0 means that it uses no GPU."""

    handler: str
    index: int
    vram_bytes: int = 0
    gpu_uuid: str = ""
    lane: int = 0
    state: ResidentState = ResidentState.LOADING
    error: str = ""
    failures: int = 0
    next_try: int = 0

    @property
    def name(self) -> str:
        return f"resident:{self.handler}:{self.index}"

    @property
    def gpus(self) -> tuple[str, ...]:
        return (self.gpu_uuid,) if self.gpu_uuid else ()


def declare(state: State, handler: str, workers: int, vram_bytes: int) -> None:
    """Say that this node is to keep so many workers of a handler."""
    residents = [Resident(handler, index, vram_bytes) for index in range(workers)]
    state.residents[handler] = residents


def load_due(state: State, now: int) -> None:
    """Start the residents that are not there and whose time has come."""
    for resident in everyone(state):
        if _is_out(state, resident) and now >= resident.next_try and not state.is_draining:
            _load(state, resident, now)


def _is_out(state: State, resident: Resident) -> bool:
    """Tell whether a resident is not there, and nothing of its last worker either."""
    return not resident.lane and resident.name not in state.releases


def _load(state: State, resident: Resident, now: int) -> None:
    resident.gpu_uuid = ""
    charge = _place(state, resident)
    if charge is None:
        free = format_bytes(resident.vram_bytes)
        _failed(resident, now, f"no GPU of this node has {free} free")
        return
    state.slots.take(resident.name, charge)
    lane = state.lanes.add(
        HANDLER_POOL + resident.handler, now, gpus=resident.gpus, resident=resident.name
    )
    resident.lane = lane.id
    if resident.state is not ResidentState.FAILED:
        resident.state = ResidentState.LOADING
    state.effects.append(OpenLane(lane, None))


def _place(state: State, resident: Resident) -> Charge | None:
    """Choose the card with the most memory that is not lent."""
    if not resident.vram_bytes:
        return Charge()
    cards = sorted(
        state.slots.cards.items(),
        key=lambda entry: (entry[1].vram_bytes - entry[1].memory_bytes, entry[0]),
    )
    for uuid, _ in cards:
        part = CardCharge(uuid, 0, resident.vram_bytes)
        charge = Charge(cards=(part,))
        if not (state.slots.card_refusal(part) or usage.refusal(state, charge)):
            resident.gpu_uuid = uuid
            return charge
    return None


def adopt(state: State, name: str, gpu_uuid: str, now: int) -> int:
    """Take over a resident that an earlier agent loaded; 0 when it is not wanted any more."""
    resident = find(state, name)
    if resident is None or resident.lane or bool(gpu_uuid) != bool(resident.vram_bytes):
        return 0
    cards = (CardCharge(gpu_uuid, 0, resident.vram_bytes),) if gpu_uuid else ()
    if cards and gpu_uuid not in state.slots.cards:
        return 0
    resident.gpu_uuid = gpu_uuid
    state.slots.take(name, Charge(cards=cards), adopt=True)
    lane = state.lanes.add(HANDLER_POOL + resident.handler, now, gpus=resident.gpus, resident=name)
    resident.lane = lane.id
    return lane.id


def on_ready(state: State, name: str) -> None:
    """Take in that a resident's `load()` returned."""
    if (resident := find(state, name)) is not None:
        resident.state = ResidentState.READY
        resident.error = ""
        resident.failures = 0


def on_ended(state: State, name: str, error: str, now: int) -> None:
    """Take in that a resident's worker is gone; it is loaded again, later and later."""
    resident = find(state, name)
    releases.begin_resident(state, name)
    if resident is None:
        return
    resident.lane = 0
    if name not in state.releases:  # else it is named as the card's until that is free
        resident.gpu_uuid = ""
    if resident.state is ResidentState.READY:
        resident.state = ResidentState.LOADING
        resident.next_try = now
    else:
        _failed(resident, now, error)


def _failed(resident: Resident, now: int, error: str) -> None:
    resident.state = ResidentState.FAILED
    resident.error = error[:ERROR_CHARS_MAX]
    delay = min(RETRY_NS_MAX, RETRY_NS_MIN << min(resident.failures, 10))
    resident.failures += 1
    resident.next_try = now + delay


def summary(residents: Iterable[Resident]) -> tuple[str, str]:
    """Return the state of a handler and what went wrong with it, from those of its workers."""
    found = list(residents)
    error = next((resident.error for resident in found if resident.error), "")
    for state in (ResidentState.READY, ResidentState.LOADING):
        if any(resident.state is state for resident in found):
            return state.value, error
    return ResidentState.FAILED.value, error


def find(state: State, name: str) -> Resident | None:
    """Return the resident of this name."""
    return next((resident for resident in everyone(state) if resident.name == name), None)


def everyone(state: State) -> list[Resident]:
    """Return all residents."""
    return [resident for residents in state.residents.values() for resident in residents]


def deadline(state: State) -> int | None:
    """Say when the next load is due."""
    waiting = [resident.next_try for resident in everyone(state) if _is_out(state, resident)]
    return min(waiting, default=None)
