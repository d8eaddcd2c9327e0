"""Which workers of handlers must leave because somebody said so, and which are loaded anew?

A handler that is disabled or withdrawn lets its workers go, one that is reloaded replaces them;
either after the calls that run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..protocol.capabilities import Handler
from ..protocol.messages import HandlerOrders
from . import endings, residents, verifying
from .effects import ResidentsChanged
from .lanes import LaneState
from .residents import Resident, ResidentState
from .terms import Terms

if TYPE_CHECKING:
    from .state import State

NAMES_MAX = 256


def on_orders(state: State, message: HandlerOrders) -> None:
    """Take in which handlers are disabled, and begin the reloads that are new."""
    if message.incarnation != state.incarnation:
        state.counters.add("other_incarnation")
        return
    orders = state.orders
    if orders.digest != message.digest:
        say(state)  # what is repeated is answered by the next heartbeat: never each by the other
    orders.digest = message.digest
    before, orders.disabled = orders.disabled, _texts(message.disabled)
    for name in before.keys() - orders.disabled.keys():
        restore(state, name)
    for name, number in list(message.reload.items())[:NAMES_MAX]:
        is_new = type(number) is int and number > orders.reloaded.get(name, 0)
        if name in state.handlers and is_new and orders.reloading.get(name) != number:
            orders.reloading[name] = number
            _begin_reload(state, name)


def _texts(disabled: Mapping[str, object]) -> dict[str, str]:
    return {name: str(why) for name, why in list(disabled.items())[:NAMES_MAX]}


def _begin_reload(state: State, name: str) -> None:
    verifying.begin(state, state.handlers[name])
    for each in state.residents[name]:
        if each.state is ResidentState.LEAVING:
            continue
        each.failures, each.next_try = 0, 0
        each.is_stale = each.lane in state.lanes.by_id


def redeclare(state: State, handler: Handler, terms: Terms) -> None:
    """Offer a handler with other settings: what was loaded with the old ones leaves."""
    withdraw(state, handler.name)
    residents.declare(state, handler, terms)
    verifying.begin(state, handler)
    say(state)


def withdraw(state: State, name: str) -> None:
    """Offer a handler no more; its workers leave after the calls that they have."""
    state.handlers.pop(name, None)
    state.terms.pop(name, None)
    state.unverified.pop(name, None)
    for each in state.residents.get(name, []):
        _retire(state, each)


def restore(state: State, name: str) -> None:
    """Have the workers back that are there from the start: their handler takes calls again."""
    handler = state.handlers.get(name)
    if handler is not None:
        state.residents[name] += residents.from_start(state, handler)
        verifying.begin(state, handler)


def say(state: State) -> None:
    """Let the scheduler hear at once how our handlers are."""
    state.effects.append(ResidentsChanged())


def turn(state: State) -> None:
    """Let workers go that are to go, as soon as they have no calls."""
    for name, found in list(state.residents.items()):
        is_off = bool(residents.is_off(state, name))
        for each in found:
            if is_off:
                _retire(state, each)
            elif each.is_stale:
                _end_after_calls(state, each)
        if not found and name not in state.handlers:
            del state.residents[name]


def confirm(state: State) -> None:
    """Say which reloads are over."""
    orders = state.orders
    for name, number in list(orders.reloading.items()):
        is_left = any(_is_to_come(state, each) for each in state.residents.get(name, []))
        if is_left or verifying.is_under_way(state, name):
            continue
        del orders.reloading[name]
        orders.reloaded[name] = number
        orders.is_news = True
        say(state)


def _is_to_come(state: State, resident: Resident) -> bool:
    """Tell whether the worker of before is there, or what failed before was not tried again."""
    is_untried = resident.state is ResidentState.FAILED and not resident.failures
    is_replaced = resident.state is ResidentState.LOADING and resident.name in state.releases
    return resident.is_stale or is_replaced or (is_untried and resident.from_start)


def _retire(state: State, resident: Resident) -> None:
    """Let a worker go for good, after the calls that it has."""
    resident.state = ResidentState.LEAVING
    resident.is_stale = False
    _end_after_calls(state, resident)


def _end_after_calls(state: State, resident: Resident) -> None:
    lane = state.lanes.by_id.get(resident.lane)
    if lane is None:
        resident.is_stale = False
    elif lane.open:
        lane.single = True
    elif lane.state is not LaneState.CLOSING:
        endings.close(state, lane)
