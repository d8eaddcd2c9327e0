"""What does the core ask of its shell: starts, stops and hand-overs, carried out in order."""

from __future__ import annotations

from typing import NamedTuple

from .lanes import Lane
from .task import Attempt, Ending, Key


class Launch(NamedTuple):
    """Run a command in a runner of its own."""

    attempt: Attempt


class OpenLane(NamedTuple):
    """Start the warm worker of a lane; `attempt` shows what it is for (None: a resident)."""

    lane: Lane
    attempt: Attempt | None


class Feed(NamedTuple):
    """Hand calls to a lane's worker, which runs them in this order."""

    lane: Lane
    attempts: list[Attempt]


class CloseLane(NamedTuple):
    """End a lane's worker; it has no calls."""

    lane: Lane


class Stop(NamedTuple):
    """End an attempt that a runner has; `grace_ms` between TERM and KILL."""

    attempt: Attempt
    grace_ms: int


class TakeBack(NamedTuple):
    """Take calls back that wait behind a long one; those not started come back."""

    attempts: list[Attempt]


class Forget(NamedTuple):
    """Drop an attempt's result: it is acknowledged."""

    key: Key


class StageIn(NamedTuple):
    """Prepare what an attempt needs before it begins."""

    attempt: Attempt


class StoreOutputs(NamedTuple):
    """Store what an attempt left behind; `answer` is how it ended."""

    attempt: Attempt
    answer: Ending


class StopMoving(NamedTuple):
    """Give up what is being prepared or stored for an attempt."""

    key: Key


class CardsChanged(NamedTuple):
    """Give up what is free of these cards; `is_news`: one is held back, or no more."""

    gpus: tuple[str, ...]
    is_news: bool = False


class ResidentsChanged(NamedTuple):
    """Say that a model left: its room can be had."""


class RenewFences(NamedTuple):
    """Let fenced attempts run until then, a time of CLOCK_BOOTTIME."""

    until_boot_ns: int


class Fused(NamedTuple):
    """Tell people that a statement of the scheduler is not believed yet."""

    doomed: int
    living: int


Effect = (
    Launch
    | OpenLane
    | Feed
    | CloseLane
    | Stop
    | TakeBack
    | Forget
    | StageIn
    | StoreOutputs
    | StopMoving
    | CardsChanged
    | ResidentsChanged
    | RenewFences
    | Fused
)
