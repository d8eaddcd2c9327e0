"""When does a model leave this node's memory: its room is needed, or nobody called it for long?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..protocol.messages import Evict
from . import endings
from .residents import Resident, ResidentState, everyone

if TYPE_CHECKING:
    from .state import State


def on_evict(state: State, message: Evict) -> None:
    """Let the models go that the scheduler names; those with calls stay, which it will hear."""
    if message.incarnation != state.incarnation:
        state.counters.add("other_incarnation")
        return
    state.see_rev(message.rev)
    for name, model, card in zip(message.handlers, message.models, message.gpu_uuids, strict=True):
        idle = [
            each
            for each in everyone(state)
            if (each.handler, each.model, each.gpu_uuid) == (name, model, card)
            and _is_idle(state, each)
        ]
        if idle:
            _let_go(state, min(idle, key=lambda each: _idle_since(state, each)))
        else:
            state.counters.add("not_evicted")


def end_unused(state: State, now: int) -> None:
    """Let the models go that nobody called for as long as their handler keeps one."""
    for resident in everyone(state):
        keep_ns = state.terms[resident.handler].keep_ns if resident.handler in state.terms else 0
        is_unused = keep_ns and _is_idle(state, resident)
        if is_unused and now - _idle_since(state, resident) >= keep_ns:
            _let_go(state, resident)


def let_go_if_idle(state: State, resident: Resident) -> None:
    """Let a model go unless a call runs in it or waits for it."""
    if _is_idle(state, resident):
        _let_go(state, resident)


def _is_idle(state: State, resident: Resident) -> bool:
    """Tell whether a model is loaded, and no call runs in it or waits for it."""
    lane = state.lanes.by_id.get(resident.lane)
    if resident.state is not ResidentState.READY or lane is None or not lane.is_idle:
        return False
    return not state.backlog.of_pool(resident.pool)


def _idle_since(state: State, resident: Resident) -> int:
    return state.lanes.by_id[resident.lane].idle_since


def _let_go(state: State, resident: Resident) -> None:
    resident.state = ResidentState.LEAVING
    endings.close(state, state.lanes.by_id[resident.lane])
