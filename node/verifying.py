"""Does each model load? A node with `verify = "start"` loads it once, while nobody waits for room.

One after the other of each handler; what was shown to load leaves again, unless a call came for
it meanwhile. What fails stays with its reason, and is tried again, later each time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..protocol.capabilities import Handler
from . import giving_way, loading, residents
from .residents import Resident, ResidentState
from .task import HANDLER_POOL

if TYPE_CHECKING:
    from .state import State

LOOK_NS = 1_000_000_000
UNTRIED = 0
"""A time at which only what was not tried yet is due."""


def begin(state: State, handler: Handler) -> None:
    """Have each model of a handler loaded once, unless that is done anyway, or by calls."""
    terms = state.terms[handler.name]
    if terms.is_verified_at_start and handler.on_demand:
        models = [handler.model_for(model) for model in handler.models or [""]]
        state.unverified[handler.name] = list(dict.fromkeys(models))


def is_verified(state: State, name: str) -> bool:
    """Tell whether each model of a handler was shown to load, as far as that was asked."""
    terms = state.terms.get(name)
    if terms is None or name not in state.handlers:
        return False
    if state.handlers[name].on_demand:
        return terms.is_verified_at_start and not state.unverified.get(name)
    return any(each.state is ResidentState.READY for each in state.residents[name])


def is_under_way(state: State, name: str) -> bool:
    """Tell whether a model of a handler has its first try now, or at the next look.

    Not what waits for room: that may take for ever. Nor what failed: it is tried again in its time.
    """
    models = state.unverified.get(name, [])
    if not models or residents.is_off(state, name):
        return False
    for each in state.residents[name]:
        is_loading = each.state is ResidentState.LOADING and each.model in models
        is_leaving = each.state is ResidentState.LEAVING and each.lane
        if (is_loading and not each.failures) or is_leaving or each.name in state.releases:
            return True
    return not _is_room_wanted(state) and _next(state, name, models, UNTRIED) is not None


def turn(state: State, now: int) -> None:
    """Let go what was shown to load, and load what is next."""
    _end_trials(state)
    if now < state.verify_at or not any(state.unverified.values()):
        return
    state.verify_at = now + LOOK_NS
    if _is_room_wanted(state):
        return
    for name, models in state.unverified.items():
        trial = None if residents.is_off(state, name) else _next(state, name, models, now)
        if trial is not None and trial not in state.residents[name]:
            state.residents[name].append(trial)
        elif trial is not None:
            trial.state = ResidentState.LOADING


def _end_trials(state: State) -> None:
    for resident in residents.everyone(state):
        if resident.state is not ResidentState.READY:
            continue
        models = state.unverified.get(resident.handler, [])
        if resident.model in models:
            models.remove(resident.model)
        if resident.is_trial:
            resident.is_trial = False
            giving_way.let_go_if_idle(state, resident)


def _is_room_wanted(state: State) -> bool:
    """Tell whether tasks wait here that need a card, or calls for a model."""
    return any(
        bucket.head() is not None and (bucket.charge.cards or bucket.pool.startswith(HANDLER_POOL))
        for bucket in state.backlog.buckets.values()
    )


def _next(state: State, name: str, models: list[str], now: int) -> Resident | None:
    """Choose what is to be loaded: a model that was not tried, or one again whose time has come."""
    handler, known = state.handlers[name], state.residents[name]
    serving = [each for each in known if each.serves]
    if len(serving) >= handler.workers or any(each.is_trial for each in serving):
        return None
    tried = {each.model for each in known if each.state is not ResidentState.LEAVING}
    left = [model for model in models if model not in tried]
    if left:
        index = residents.free_index(known)
        trial = Resident(name, index, handler.vram_bytes, left[0], from_start=False, is_trial=True)
        return trial if loading.has_room(state, trial) else None
    for each in known:
        is_due = each.is_trial and each.state is ResidentState.FAILED and now >= each.next_try
        is_gone = not each.lane and each.name not in state.releases
        if is_due and is_gone and loading.has_room(state, each):
            return each
    return None


def deadline(state: State) -> int | None:
    """Say when to look again whether there is room for what is to be shown to load."""
    return state.verify_at if any(state.unverified.values()) else None
