"""When is a model loaded on this node, onto which card, and which are taken over?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..protocol.resources import format_bytes
from . import usage
from .effects import OpenLane, ResidentsChanged
from .lanes import Lane
from .residents import (
    NAME_PARTS,
    Resident,
    ResidentState,
    everyone,
    failed,
    find,
    model_of,
)
from .slots import CardCharge, Charge
from .task import HANDLER_POOL

if TYPE_CHECKING:
    from .state import State


def load_due(state: State, now: int) -> None:
    """Start the residents that are not there and whose time has come."""
    if state.is_draining:
        return
    _forget_gone(state, now)
    _add_wanted(state)
    for resident in everyone(state):
        if _is_out(state, resident) and now >= resident.next_try:
            _load(state, resident, now)


def _forget_gone(state: State, now: int) -> None:
    """Forget those that left, and failures of those that nobody waits for, after a while."""
    for residents in state.residents.values():
        for resident in list(residents):
            is_over = resident.state is ResidentState.LEAVING
            is_past = resident.state is ResidentState.FAILED and not resident.from_start
            if resident.lane or resident.name in state.releases:
                continue
            if is_over or (is_past and now >= resident.next_try):
                residents.remove(resident)
                state.effects.append(ResidentsChanged())


def _add_wanted(state: State) -> None:
    """Add a resident for each call that its scheduler granted a place of its own.

    What was sent ahead waits for those that are there.
    """
    for bucket in list(state.backlog.buckets.values()):
        if not bucket.pool.startswith(HANDLER_POOL) or bucket.head() is None:
            continue
        name, _, model = bucket.pool.removeprefix(HANDLER_POOL).partition("/")
        handler, known = state.handlers.get(name), state.residents.get(name, [])
        if handler is None:
            continue
        of_pool = [each for each in known if each.model == model]
        size = handler.max_batch
        room = sum(max(size - _calls(state, each), 0) for each in of_pool if each.serves)
        if any(each.state is ResidentState.FAILED for each in of_pool):
            continue
        for attempt in bucket.waiting:
            if sum(each.state is not ResidentState.LEAVING for each in known) >= handler.workers:
                break
            if attempt.prefetched or attempt.handed:
                continue
            if room:
                room -= 1
                continue
            taken = {each.index for each in known}
            index = next(number for number in range(len(taken) + 1) if number not in taken)
            card = attempt.gpus[0] if attempt.gpus else ""
            known.append(
                Resident(name, index, handler.vram_bytes, model, not handler.on_demand, card)
            )


def _calls(state: State, resident: Resident) -> int:
    lane = state.lanes.by_id.get(resident.lane)
    return len(lane.open) if lane is not None else 0


def _is_out(state: State, resident: Resident) -> bool:
    """Tell whether a resident is to come, and nothing of its last worker is there."""
    is_to_come = resident.state is not ResidentState.LEAVING and (
        resident.from_start or resident.state is not ResidentState.FAILED
    )
    return is_to_come and not resident.lane and resident.name not in state.releases


def _load(state: State, resident: Resident, now: int) -> None:
    charge = _place(state, resident)
    if charge is None:
        free = format_bytes(resident.vram_bytes)
        failed(resident, now, f"no GPU of this node has {free} free")
        return
    state.slots.take(resident.name, charge)
    lane = _lane(state, resident, now)
    resident.lane = lane.id
    resident.opened_at = now
    if resident.state is not ResidentState.FAILED:
        resident.state = ResidentState.LOADING
    state.effects.append(OpenLane(lane, None))


def _place(state: State, resident: Resident) -> Charge | None:
    """Choose the card: the one that it was granted or had, else that with the most memory free."""
    if not resident.vram_bytes:
        resident.gpu_uuid = ""
        return Charge()
    cards = sorted(
        state.slots.cards.items(),
        key=lambda entry: (
            entry[0] != resident.gpu_uuid,
            entry[1].vram_bytes - entry[1].memory_bytes,
            entry[0],
        ),
    )
    for uuid, _ in cards if resident.from_start or not resident.gpu_uuid else cards[:1]:
        part = CardCharge(uuid, 0, resident.vram_bytes)
        charge = Charge(cards=(part,))
        if not (state.slots.card_refusal(part) or usage.refusal(state, charge)):
            resident.gpu_uuid = uuid
            return charge
    return None


def adoptable(state: State, name: str, gpu_uuid: str) -> Resident | None:
    """Return the resident that an earlier agent's worker is; None when it is not wanted any more.

    One that was loaded by a call is not among those of this start: it is made.
    """
    resident = find(state, name) or _of_name(state, name)
    if resident is None or resident.lane or bool(gpu_uuid) != bool(resident.vram_bytes):
        return None
    return None if gpu_uuid and gpu_uuid not in state.slots.cards else resident


def _of_name(state: State, name: str) -> Resident | None:
    """Make the resident of a name that this start has not, if its handler would have it."""
    _, handler_name, number, *_ = *name.split(":", NAME_PARTS - 1), "", ""
    handler, model = state.handlers.get(handler_name), model_of(name)
    if handler is None or not number.isdigit() or handler.model_for(model) != model:
        return None
    if int(number) >= handler.workers or not handler.on_demand:
        return None
    return Resident(handler_name, int(number), handler.vram_bytes, model, from_start=False)


def adopt(state: State, name: str, gpu_uuid: str, now: int) -> int:
    """Take over a resident that an earlier agent loaded; 0 when it is not wanted any more."""
    resident = adoptable(state, name, gpu_uuid)
    if resident is None:
        return 0
    known = state.residents[resident.handler]
    if resident not in known:
        known.append(resident)
    cards = (CardCharge(gpu_uuid, 0, resident.vram_bytes),) if gpu_uuid else ()
    resident.gpu_uuid = gpu_uuid
    state.slots.take(name, Charge(cards=cards), adopt=True)
    lane = _lane(state, resident, now)
    resident.lane = lane.id
    return lane.id


def _lane(state: State, resident: Resident, now: int) -> Lane:
    size = state.handlers[resident.handler].max_batch
    return state.lanes.add(
        resident.pool, now, gpus=resident.gpus, resident=resident.name, size=size
    )


def deadline(state: State) -> int | None:
    """Say when the next load is due, or the next failure forgotten."""
    waiting = [
        resident.next_try
        for resident in everyone(state)
        if _is_out(state, resident)
        or (resident.state is ResidentState.FAILED and not resident.lane)
    ]
    return min(waiting, default=None)
