"""Which models does this node keep in memory, on which cards, and in what state?

A resident is one worker process that holds a handler's model. Those of handlers with `load =
"start"` are loaded when the agent starts, all others by the first call that is granted here;
either leaves when its room is needed (see `giving_way.py`) and comes back with the next call.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from ..protocol.capabilities import Handler
from ..protocol.measures import RESIDENTS_MAX, UNKNOWN
from ..protocol.measures import Resident as Reported
from . import releases
from .task import HANDLER_POOL
from .terms import Terms

if TYPE_CHECKING:
    from .state import State

RETRY_NS_MIN = 1_000_000_000
RETRY_NS_MAX = 60_000_000_000
ERROR_CHARS_MAX = 500
_NS_PER_MS = 1_000_000
NAME_PARTS = 4
UNBOUND = Terms()


class ResidentState(Enum):
    """Where a resident is; the values are those of the wire."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    LEAVING = "leaving"


@dataclass(slots=True)
class Resident:
    """One worker of a handler; `vram_bytes` 0 means that it uses no GPU.

    `model` is the one that it holds ("": all that its handler loads); `gpu_uuid` the card that it
    is on, or was, or is to be on. `opened_at` is when its worker was started (0: by an earlier
    agent), `is_wanted` that a call waits for it: without that, one that fails is tried again only
    if it is to be there from the start. `load_by` is when its load has taken too long (0: never),
    `overdue` says that it has. `is_trial`: it is loaded to show that it can be (`verifying.py`);
    `is_stale`: it is to be loaded anew, after the calls that run (`retiring.py`).
    """

    handler: str
    index: int
    vram_bytes: int = 0
    model: str = ""
    from_start: bool = True
    gpu_uuid: str = ""
    lane: int = 0
    state: ResidentState = ResidentState.LOADING
    error: str = ""
    failures: int = 0
    next_try: int = 0
    opened_at: int = 0
    load_ms: int = 0
    load_by: int = 0
    overdue: str = ""
    is_trial: bool = False
    is_stale: bool = False

    @property
    def name(self) -> str:
        name = f"resident:{self.handler}:{self.index}"
        return f"{name}:{self.model}" if self.model else name

    @property
    def gpus(self) -> tuple[str, ...]:
        return (self.gpu_uuid,) if self.gpu_uuid else ()

    @property
    def pool(self) -> str:
        return pool_of(self.handler, self.model)

    @property
    def serves(self) -> bool:
        """Tell whether it takes calls, or will."""
        return self.state in (ResidentState.LOADING, ResidentState.READY)


def pool_of(handler: str, model: str) -> str:
    """Name the workers that hold a model of a handler."""
    return f"{HANDLER_POOL}{handler}/{model}" if model else HANDLER_POOL + handler


def model_of(name: str) -> str:
    """Return the model that a resident of this name holds."""
    parts = name.split(":", NAME_PARTS - 1)
    return parts[-1] if len(parts) == NAME_PARTS else ""


def declare(state: State, handler: Handler, terms: Terms = UNBOUND) -> None:
    """Say that this node offers a handler, with the workers that are there from the start."""
    state.handlers[handler.name] = handler
    state.terms[handler.name] = terms
    known = state.residents.setdefault(handler.name, [])
    known += from_start(state, handler)


def from_start(state: State, handler: Handler) -> list[Resident]:
    """Make the workers that a handler has from the start, beside those that are leaving."""
    count = 0 if handler.on_demand else handler.workers
    taken = {each.index for each in state.residents.get(handler.name, [])}
    free = (index for index in range(count + len(taken)) if index not in taken)
    return [
        Resident(handler.name, index, handler.vram_bytes, handler.model_for(""))
        for index in itertools.islice(free, count)
    ]


def free_index(known: Iterable[Resident]) -> int:
    """Return the first number that none of these has."""
    taken = {each.index for each in known}
    return next(number for number in range(len(taken) + 1) if number not in taken)


def on_ready(state: State, name: str, now: int) -> None:
    """Take in that a resident's `load()` returned."""
    resident = find(state, name)
    if resident is None or resident.state is ResidentState.LEAVING:
        return
    resident.state = ResidentState.READY
    resident.error = ""
    resident.failures = resident.load_by = 0
    if resident.opened_at:
        resident.load_ms = max(1, (now - resident.opened_at) // _NS_PER_MS)


def on_ended(state: State, name: str, error: str, now: int) -> str:
    """Take in that a resident's worker is gone; unless it left, it is loaded again.

    Returns what is to be said of it.
    """
    resident = find(state, name)
    releases.begin_resident(state, name)
    if resident is None:
        return error
    error = resident.overdue or error
    resident.lane = resident.load_by = 0
    resident.overdue = ""
    if resident.state is ResidentState.LEAVING:
        return error
    if resident.state is ResidentState.READY or resident.is_stale:
        resident.state = ResidentState.LOADING
        resident.next_try = now
        resident.is_stale = False
    else:
        failed(resident, now, error)
    return error


def failed(resident: Resident, now: int, error: str) -> None:
    resident.state = ResidentState.FAILED
    resident.error = error[:ERROR_CHARS_MAX]
    delay = min(RETRY_NS_MAX, RETRY_NS_MIN << min(resident.failures, 10))
    resident.failures += 1
    resident.next_try = now + delay


def refusal(state: State, handler: str, model: str) -> str:
    """Say why calls of a handler, for a model, cannot be taken; empty when they can."""
    if why := is_off(state, handler):
        return why
    declared = state.handlers[handler]
    if model and declared.models and model not in declared.models:
        return f"handler {handler!r} does not list the model {model!r}"
    held = declared.model_for(model)
    found = [each for each in state.residents[handler] if each.model == held]
    word, error = summary(found)
    if word == ResidentState.FAILED.value:
        return f"handler {handler!r} does not load: {error}"
    return ""


def is_off(state: State, handler: str) -> str:
    """Say why a handler takes no calls here; empty when it does."""
    if handler not in state.handlers:
        return f"this node has no handler {handler!r}"
    if (why := state.orders.disabled.get(handler)) is not None:
        return f"handler {handler!r} is disabled: {why}"
    if why := state.unserved.get(handler, ""):
        return f"handler {handler!r} cannot be served: {why}"
    return ""


def summary(residents: Iterable[Resident]) -> tuple[str, str]:
    """Return the state of a handler and what went wrong with it, from those of its workers."""
    found = list(residents)
    error = next((resident.error for resident in found if resident.error), "")
    for state in (ResidentState.READY, ResidentState.LOADING, ResidentState.FAILED):
        if any(resident.state is state for resident in found):
            return state.value, error
    return COLD, error


COLD = "cold"
"""The state of a handler that nothing holds: the next call loads it."""


def report(state: State, now: int) -> list[Reported]:
    """Say which models this node holds, and what each takes as long as that is not proven free."""
    found = []
    for resident in everyone(state):
        holds = bool(resident.lane) or resident.name in state.releases
        lane = state.lanes.by_id.get(resident.lane)
        idle_ns = now - lane.idle_since if lane is not None and lane.is_idle else 0
        word = resident.state.value
        if holds and not resident.lane:
            word = ResidentState.LEAVING.value
        found.append(
            Reported(
                resident.handler,
                resident.model,
                resident.gpu_uuid,
                resident.vram_bytes if holds else 0,
                word,
                len(lane.open) if lane is not None else 0,
                idle_ns // _NS_PER_MS,
                resident.load_ms,
                resident.error,
                _measured(state, resident),
            )
        )
    return found[:RESIDENTS_MAX]


def _measured(state: State, resident: Resident) -> int:
    """Return what the processes of a resident were seen to hold of its card."""
    usage = state.usage.get(resident.gpu_uuid)
    return usage.held.get(resident.name, UNKNOWN) if usage is not None else UNKNOWN


def of_pool(state: State, pool: str) -> Iterator[Resident]:
    """Yield the residents that calls of a pool may go to."""
    return (resident for resident in everyone(state) if resident.pool == pool)


def find(state: State, name: str) -> Resident | None:
    """Return the resident of this name."""
    return next((resident for resident in everyone(state) if resident.name == name), None)


def everyone(state: State) -> list[Resident]:
    """Return all residents."""
    return [resident for residents in state.residents.values() for resident in residents]
