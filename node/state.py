"""What does a node's core know: attempts, slots, queue, workers, results, counters."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..protocol.capabilities import Handler
from ..protocol.messages import Phase
from .as_whom import AsWhom
from .backlog import Backlog
from .effects import Effect
from .fencing import Fence, is_fenced
from .fuse import Fuse
from .health import Blamed, Health
from .lanes import Lanes
from .outbox import Outbox
from .releases import Baseline, Release
from .residents import Resident
from .slots import Holder, Slots
from .storing import Storing
from .task import Attempt, Counters, Key, Plan
from .terms import Orders, Terms
from .usage import ForeignPolicy, Usage

ATTEMPTS_MAX = 20_000
PLANS_MAX = 256
PLAN_BYTES_MAX = 128 * 1024  # a longer specification is read anew each time


@dataclass(slots=True)
class Rejection:
    """An attempt that the node refused."""

    key: Key
    token: bytes
    reason: str


@dataclass(slots=True)
class State:
    """All that the core of one agent holds; `incarnation` names this start of it.

    `fresh`, `rejected`, `started`, `progress` and `undescribed` wait for the end of the turn.
    `workers_max` is how many function workers are kept at a time; `read_at` is when the cards
    should be read next.
    `newest` is the highest attempt held of each task, `doubled` the tasks of which several are.
    `settled` are attempts acknowledged since `rev` grew last: an offer of them came twice.
    `staging` are attempts for which something is prepared, `storing` those whose process ended and
    whose outputs are not stored yet. `usage` is of each card by UUID, `blind` why that is out of
    date, `blamed` what drivers said while attempts were on their cards. `handlers` are what the
    node offers, on which `terms`, but for those of which `unserved` says why it cannot; `orders`
    are the scheduler's about them. `residents` is what is loaded, `unverified` which models are
    still to be shown to load, the next one not before `verify_at`.
    """

    incarnation: bytes
    slots: Slots
    workers_max: int = 1
    attempts: dict[Key, Attempt] = field(default_factory=dict)
    newest: dict[bytes, int] = field(default_factory=dict)
    doubled: set[bytes] = field(default_factory=set)
    plans: dict[tuple[bytes, str], Plan] = field(default_factory=dict)
    backlog: Backlog = field(default_factory=Backlog)
    staging: dict[Key, Attempt] = field(default_factory=dict)
    storing: dict[Key, Storing] = field(default_factory=dict)
    lanes: Lanes = field(default_factory=Lanes)
    handlers: dict[str, Handler] = field(default_factory=dict)
    terms: dict[str, Terms] = field(default_factory=dict)
    unserved: dict[str, str] = field(default_factory=dict)
    unverified: dict[str, list[str]] = field(default_factory=dict)
    verify_at: int = 0
    orders: Orders = field(default_factory=Orders)
    residents: dict[str, list[Resident]] = field(default_factory=dict)
    releases: dict[Holder, Release] = field(default_factory=dict)
    baselines: dict[str, Baseline] = field(default_factory=dict)
    usage: dict[str, Usage] = field(default_factory=dict)
    health: Health = field(default_factory=Health)
    blamed: dict[Key, list[Blamed]] = field(default_factory=dict)
    foreign: ForeignPolicy = ForeignPolicy.SHARE
    blind: str = ""
    read_at: int = 0
    outbox: Outbox = field(default_factory=Outbox)
    counters: Counters = field(default_factory=Counters)
    fence: Fence = field(default_factory=Fence)
    as_whom: AsWhom = field(default_factory=AsWhom)
    fuse: Fuse = field(default_factory=Fuse)
    effects: list[Effect] = field(default_factory=list)
    fresh: list[Attempt] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    started: list[Key] = field(default_factory=list)
    progress: dict[Key, tuple[int, str]] = field(default_factory=dict)
    undescribed: dict[Key, None] = field(default_factory=dict)
    rev: int = 0
    settled: set[Key] = field(default_factory=set)
    seq: int = 0
    prefetched_held: int = 0
    is_draining: bool = False

    def see_rev(self, rev: int) -> None:
        """Take in how far the scheduler's word has got."""
        if rev > self.rev:
            self.rev = rev
            self.settled.clear()

    def hold(self, attempt: Attempt) -> None:
        """Put an attempt into the table."""
        self.seq += 1
        attempt.seq = self.seq
        self.attempts[attempt.key] = attempt
        if attempt.task in self.newest:
            self.doubled.add(attempt.task)
        if attempt.number > self.newest.get(attempt.task, -1):
            self.newest[attempt.task] = attempt.number
        if attempt.prefetched:
            self.prefetched_held += 1
        if is_fenced(attempt.plan.spec):
            self.fence.attempts[attempt.key] = attempt

    def drop(self, attempt: Attempt) -> None:
        """Take an attempt out of the table."""
        del self.attempts[attempt.key]
        self.blamed.pop(attempt.key, None)
        self.fence.attempts.pop(attempt.key, None)
        if self.newest.get(attempt.task) != attempt.number:
            return
        del self.newest[attempt.task]
        if attempt.task in self.doubled:  # an older attempt may still be on its way out
            self.doubled.discard(attempt.task)
            left = [each.number for each in self.attempts.values() if each.task == attempt.task]
            if left:
                self.newest[attempt.task] = max(left)
                self.doubled.add(attempt.task)

    def release(self, attempt: Attempt) -> None:
        """Give back what an attempt itself holds."""
        if attempt.reserved:
            attempt.reserved = False
            self.slots.release(attempt.seq)

    def check(self) -> None:
        """Assert what must hold between two turns."""
        self.slots.check()
        for key, attempt in self.attempts.items():
            assert attempt.key == key
            assert self.newest[attempt.task] >= attempt.number
            assert (attempt.phase == Phase.ENDED) == (key in self.outbox.entries)
            assert attempt.phase != Phase.ENDED or not attempt.reserved
            assert not attempt.reserved or attempt.seq in self.slots.holders
            lane = self.lanes.by_id.get(attempt.lane)
            in_lane = lane is not None and key in lane.open
            assert in_lane == bool(attempt.handed and attempt.lane and attempt.phase != Phase.ENDED)
            runs = attempt.handed and attempt.phase != Phase.ENDED and key not in self.storing
            if runs and attempt.plan.is_command:
                assert attempt.reserved, "a command runs without holding its slot"
        for lane in self.lanes.by_id.values():
            assert bool(lane.open) == (lane.charge is not None)
            assert (lane.charge is not None) == (lane.id in self.slots.holders)
            assert lane.formed <= lane.open.keys()
            assert not lane.solo or len(lane.open) == 1
        for holder, release in self.releases.items():
            assert holder == release.holder
            assert holder in self.slots.holders
            if release.waits and not release.is_held_back:
                assert self.attempts[release.waits[0].key].reserved
        for key, attempt in self.staging.items():
            assert self.attempts[key] is attempt
            assert attempt.phase == Phase.QUEUED
            assert not attempt.handed, "it began before it was prepared"
        for key, storing in self.storing.items():
            assert self.attempts[key] is storing.attempt
            assert storing.attempt.phase == Phase.RUNNING
            assert not storing.attempt.reserved, "it holds on to its slot"
            assert not storing.attempt.lane
        living = sum(1 for a in self.attempts.values() if a.prefetched and a.phase != Phase.ENDED)
        assert self.prefetched_held == living
