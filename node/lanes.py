"""Which warm workers are there, what has each been handed, and how much is it handed ahead?"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from .slots import Charge
from .task import Attempt, Key

CALLS_AHEAD_MAX = 256
WORK_AHEAD_US = 10_000  # a worker is topped up at half of it
PACE_WEIGHT = 0.2
PACES_MAX = 1_024
IDLE_NS_MAX = 60_000_000_000


class LaneState(Enum):
    """Where a worker is in its life."""

    OPENING = "opening"
    READY = "ready"
    CLOSING = "closing"


@dataclass(slots=True, eq=False)
class Lane:
    """One warm worker: its calls run one after the other, or `size` at a time, on one charge.

    Ids are negative, so that they never meet an attempt's `seq` among the holders of slots.
    `single`: ends with the calls that it has, and gets no others: bound to GPUs of one task, asked
    for fresh, or made of what has changed since. `long` is a call that has been running for a
    while: nothing is put behind it. Of a batch that runs `formed` are the calls without an answer:
    nothing is put behind those either, so that what waits goes to whoever is free first. `solo`:
    its call is to be alone in its batch. `stamp` is what the shell compares to tell such a change.
    """

    id: int
    pool: str
    gpus: tuple[str, ...] = ()
    resident: str = ""
    single: bool = False
    state: LaneState = LaneState.OPENING
    open: dict[Key, Attempt] = field(default_factory=dict)
    charge: Charge | None = None
    idle_since: int = 0
    long: Key | None = None
    stamp: tuple[object, ...] = ()
    size: int = 1
    formed: set[Key] = field(default_factory=set)
    solo: bool = False

    @property
    def is_idle(self) -> bool:
        return not self.open and self.state is LaneState.READY


@dataclass(slots=True)
class Lanes:
    """All lanes of a node, and the measured pace of each pool."""

    by_id: dict[int, Lane] = field(default_factory=dict)
    by_pool: dict[str, list[Lane]] = field(default_factory=dict)
    pace_us: dict[str, float] = field(default_factory=dict)
    _last_id: int = 0

    def add(
        self,
        pool: str,
        now: int,
        *,
        gpus: tuple[str, ...] = (),
        resident: str = "",
        single: bool = False,
        size: int = 1,
    ) -> Lane:
        """Begin a lane; its worker is being started."""
        self._last_id -= 1
        lane = Lane(self._last_id, pool, gpus, resident, single, idle_since=now, size=size)
        self.by_id[lane.id] = lane
        self.by_pool.setdefault(pool, []).append(lane)
        return lane

    def remove(self, lane: Lane) -> None:
        """Forget a lane whose worker is gone."""
        del self.by_id[lane.id]
        siblings = self.by_pool[lane.pool]
        siblings.remove(lane)
        if not siblings:
            del self.by_pool[lane.pool]

    def of_pool(self, pool: str) -> list[Lane]:
        return self.by_pool.get(pool, [])

    def in_batches(self, pool: str) -> bool:
        """Tell whether the workers of a pool take several calls at a time."""
        return any(lane.size > 1 for lane in self.of_pool(pool))

    def count_functions(self) -> int:
        """Count the workers that are not residents."""
        return sum(1 for lane in self.by_id.values() if not lane.resident)

    def longest_idle(self) -> Lane | None:
        """Return the function worker that has been idle for longest."""
        idle = [lane for lane in self.by_id.values() if lane.is_idle and not lane.resident]
        return min(idle, key=lambda lane: lane.idle_since, default=None)

    def learn(self, pool: str, run_us: int, calls: int) -> None:
        """Take in the mean time of some calls."""
        mean = run_us / calls
        known = self.pace_us.get(pool)
        if known is None:
            if len(self.pace_us) >= PACES_MAX:
                del self.pace_us[next(iter(self.pace_us))]
            self.pace_us[pool] = mean
        else:
            self.pace_us[pool] = known + (mean - known) * PACE_WEIGHT

    def ahead(self, pool: str) -> int:
        """Say how many calls a worker is handed at most: one while its pace is unknown."""
        pace_us = self.pace_us.get(pool)
        if pace_us is None or pace_us >= WORK_AHEAD_US:
            return 1
        return min(CALLS_AHEAD_MAX, int(WORK_AHEAD_US / max(pace_us, 1.0)))
