"""When is a model loaded on this node, onto which card, and which are taken over?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..protocol.resources import format_bytes
from . import endings, usage
from .effects import OpenLane, ResidentsChanged
from .lanes import Lane, LaneState
from .residents import (
    NAME_PARTS,
    Resident,
    ResidentState,
    everyone,
    failed,
    find,
    free_index,
    is_off,
    model_of,
)
from .slots import CardCharge, Charge
from .task import HANDLER_POOL

if TYPE_CHECKING:
    from .state import State

NS_PER_S = 1_000_000_000


def load_due(state: State, now: int) -> None:
    """Start the residents that are not there and whose time has come."""
    if state.is_draining:
        return
    _end_overdue(state, now)
    _forget_gone(state, now)
    _add_wanted(state)
    for resident in everyone(state):
        if _is_out(state, resident) and now >= resident.next_try:
            _load(state, resident, now)


def _end_overdue(state: State, now: int) -> None:
    """End the workers whose load takes too long."""
    for resident in everyone(state):
        lane = state.lanes.by_id.get(resident.lane)
        if lane is None or not resident.load_by or now < resident.load_by:
            continue
        resident.load_by = 0
        if resident.state is ResidentState.LOADING:
            limit_s = state.terms[resident.handler].load_ns / NS_PER_S
            resident.overdue = f"its load took longer than load_timeout = {limit_s:g} s"
            endings.close(state, lane)


def _forget_gone(state: State, now: int) -> None:
    """Forget those that left, and failures of those that nobody waits for, after a while."""
    for residents in state.residents.values():
        for resident in list(residents):
            is_over = resident.state is ResidentState.LEAVING
            is_past = resident.state is ResidentState.FAILED and not (
                resident.from_start or resident.is_trial
            )
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
        if handler is None or is_off(state, name):
            continue
        of_pool = [each for each in known if each.model == model]
        size = handler.max_batch
        room = sum(max(size - _calls(state, each), 0) for each in of_pool if each.serves)
        if any(each.state is ResidentState.FAILED for each in of_pool):
            continue
        for attempt in bucket.waiting:
            if sum(_has_place(each) for each in known) >= handler.workers:
                break
            if attempt.prefetched or attempt.handed:
                continue
            if room:
                room -= 1
                continue
            index = free_index(known)
            card = attempt.gpus[0] if attempt.gpus else ""
            known.append(
                Resident(name, index, handler.vram_bytes, model, not handler.on_demand, card)
            )


def _has_place(resident: Resident) -> bool:
    """Tell whether a worker is one of those that its handler may have at a time."""
    return resident.serves or (resident.from_start and resident.state is ResidentState.FAILED)


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
    resident.load_by = _load_by(state, resident, now)
    if resident.state is not ResidentState.FAILED:
        resident.state = ResidentState.LOADING
    state.effects.append(OpenLane(lane, None))


def _load_by(state: State, resident: Resident, now: int) -> int:
    limit_ns = state.terms[resident.handler].load_ns
    return now + limit_ns if limit_ns else 0


def has_room(state: State, resident: Resident) -> bool:
    """Tell whether there is a card for a worker that is to be loaded."""
    return _place(state, resident) is not None


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
    resident.load_by = _load_by(state, resident, now)
    return lane.id


def _lane(state: State, resident: Resident, now: int) -> Lane:
    size = state.handlers[resident.handler].max_batch
    return state.lanes.add(
        resident.pool, now, gpus=resident.gpus, resident=resident.name, size=size
    )


def adopt_unwanted(
    state: State, name: str, pool: str, gpu_uuid: str, vram_bytes: int, now: int
) -> Lane:
    """Count a worker that is not wanted any more until it is gone, after the calls that it has.

    It keeps what it holds of its card: nobody else may be lent that meanwhile.
    """
    handler = name.split(":", NAME_PARTS - 1)[1]
    known = state.residents.setdefault(handler, [])
    resident = Resident(
        handler,
        free_index(known),
        vram_bytes,
        model_of(name),
        from_start=False,
        gpu_uuid=gpu_uuid,
        state=ResidentState.LEAVING,
    )
    known.append(resident)
    cards = (CardCharge(gpu_uuid, 0, vram_bytes),) if gpu_uuid else ()
    state.slots.take(resident.name, Charge(cards=cards), adopt=True)
    lane = state.lanes.add(pool, now, gpus=resident.gpus, resident=resident.name, single=True)
    lane.state = LaneState.READY
    resident.lane = lane.id
    return lane


def deadline(state: State) -> int | None:
    """Say when the next load is due, or the next failure forgotten."""
    waiting = [
        resident.next_try
        for resident in everyone(state)
        if _is_out(state, resident)
        or (resident.state is ResidentState.FAILED and not (resident.lane or resident.is_trial))
    ]
    waiting += [each.load_by for each in everyone(state) if each.lane and each.load_by]
    return min(waiting, default=None)
