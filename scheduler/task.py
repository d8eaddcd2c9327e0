"""How a task moves: its states, the facts that move it, and the table of all moves."""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import NamedTuple

from ..protocol.failures import FailureClass
from ..protocol.resources import GPUS_MAX, Request
from ..protocol.spec import IfNodeLost, TaskSpec
from .seats import NO_SEAT, Seat


class State(IntEnum):
    """Where a task stands; the numbers are stored, so they never change."""

    WAITING = 0
    QUEUED = 1
    ASSIGNED = 2
    RUNNING = 3
    STOPPING = 4
    SUCCEEDED = 5
    FAILED = 6
    CANCELLED = 7

    @property
    def word(self) -> str:
        """Return the state as users read it."""
        return _WORDS[self]


_WORDS = tuple(state.name.lower() for state in State)


class Fact(Enum):
    """What moves a task."""

    __hash__ = object.__hash__  # one object each: that of Enum is slow, and each move looks one up

    READY = "the wait is over"
    GRANT = "a node was chosen"
    START = "the node runs it"
    SUCCEED = "it ended well"
    RETRY = "a try failed, another is left"
    FAIL = "a try failed, none is left"
    REQUEUE = "the attempt ended through no fault of the task"
    EXPIRE = "its time is over while no node holds it"
    CANCEL = "cancel asked while no node holds it"
    STOP = "it has to end while a node holds it"
    GONE = "cancelled, its process tree is proven gone"


class StopReason(IntEnum):
    """Why a task is STOPPING, which says what follows once it is gone; the numbers are stored."""

    NONE = 0
    CANCELLED = 1
    DRAIN = 2
    DEADLINE = 3
    START_TIMEOUT = 4

    @property
    def word(self) -> str:
        return self.name.lower()


TRANSITIONS: dict[tuple[State, Fact], State] = {
    (State.WAITING, Fact.READY): State.QUEUED,
    (State.WAITING, Fact.CANCEL): State.CANCELLED,
    (State.WAITING, Fact.EXPIRE): State.FAILED,
    (State.QUEUED, Fact.GRANT): State.ASSIGNED,
    (State.QUEUED, Fact.CANCEL): State.CANCELLED,
    (State.QUEUED, Fact.EXPIRE): State.FAILED,
    (State.ASSIGNED, Fact.START): State.RUNNING,
    (State.ASSIGNED, Fact.SUCCEED): State.SUCCEEDED,
    (State.ASSIGNED, Fact.RETRY): State.WAITING,
    (State.ASSIGNED, Fact.FAIL): State.FAILED,
    (State.ASSIGNED, Fact.REQUEUE): State.QUEUED,
    (State.ASSIGNED, Fact.STOP): State.STOPPING,
    (State.RUNNING, Fact.SUCCEED): State.SUCCEEDED,
    (State.RUNNING, Fact.RETRY): State.WAITING,
    (State.RUNNING, Fact.FAIL): State.FAILED,
    (State.RUNNING, Fact.REQUEUE): State.QUEUED,
    (State.RUNNING, Fact.STOP): State.STOPPING,
    (State.STOPPING, Fact.GONE): State.CANCELLED,
    # Stopped for another reason than a cancel: what its node says last still counts.
    (State.STOPPING, Fact.SUCCEED): State.SUCCEEDED,
    (State.STOPPING, Fact.RETRY): State.WAITING,
    (State.STOPPING, Fact.FAIL): State.FAILED,
    (State.STOPPING, Fact.REQUEUE): State.QUEUED,
}

TERMINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
ON_NODE = frozenset({State.ASSIGNED, State.RUNNING, State.STOPPING})


@dataclass(frozen=True, slots=True)
class Policy:
    """What a task wants of its life; equal ones are shared.

    `only_try` says why it cannot be given to a node again, where that is so (see `adopted.py`).
    """

    priority: int
    retries: int
    backoff_first_ms: int
    backoff_longest_ms: int
    grace_ms: int
    if_node_lost: IfNodeLost = "rerun"
    start_timeout_ms: int = 0
    deadline_ms: int = 0
    expires_ms: int = 0
    retry_on: tuple[str, ...] = ()
    never_on: tuple[str, ...] = ()
    timeout_ms: int = 0
    only_try: str = ""


@functools.lru_cache(maxsize=4_096)
def _policy(policy: Policy) -> Policy:
    return policy


def policy_of(spec: TaskSpec, only_try: str = "") -> Policy:
    """Return the policy that a spec states; equal ones are one object."""
    return _policy(
        Policy(
            spec.priority,
            spec.retries,
            spec.backoff_first_ms,
            spec.backoff_longest_ms,
            spec.grace_ms,
            spec.if_node_lost,
            spec.start_timeout_ms,
            spec.deadline_ms,
            spec.expires_ms,
            tuple(spec.retry_on),
            tuple(spec.never_on),
            spec.timeout_ms,
            only_try,
        )
    )


@functools.lru_cache(maxsize=4_096)
def shared(request: Request) -> Request:
    """Return one object for equal requests: a million tasks seldom ask a hundred ways."""
    return request


class Raised(NamedTuple):
    """What a task asks for at least after it ran out of it; 0: as submitted.

    An alternative of more than so many cards shares the work out in another way, and was not what
    ran out: it asks for what it did.
    """

    memory_bytes: int = 0
    vram_bytes: int = 0
    cards: int = GPUS_MAX


NOT_RAISED = Raised()


@dataclass(frozen=True, slots=True)
class Spec:
    """What the core keeps of a TaskSpec; the rest stays on disk until dispatch.

    `kind` names what runs (`command`, `function module:name`, `handler name`): measured run times
    are kept under it. `raised` is what `request` asks for at least instead of what was submitted.
    `size_class` is the order of the task's size; `sized_bytes` the VRAM that its arguments asked
    for (0: they do not).
    """

    spec_id: int
    request: Request
    policy: Policy
    kind: str
    owner: str
    raised: Raised = NOT_RAISED
    sized_bytes: int = 0
    size_class: int = 0


@dataclass(slots=True)
class Attempt:
    """One try of a task on one node, while it lives.

    `rev` is the revision of the Offer that carried it last. `prefetched` says that it waits in
    the node's own queue and is not charged to the ledger; else `charges` holds what it takes of
    each card: (UUID, share in 1/1000, bytes), and `is_spoken_for` tells whether that is taken off
    what was measured as free. `recalled`: its node was asked to hand it back.
    `request` is what it was granted: of what the task asks for, the alternative that was chosen
    with the VRAM that was found for it; what was measured of that is of one card: now, and at most.
    `seat` is where a call of a handler is counted; one that `rides` has no slot, but that of a
    call beside it; `batch_calls` is what its node says that its batch had. `started_ns` is when its
    node was heard to run it.
    """

    number: int
    node: str
    epoch: int
    token: bytes
    request: Request
    gpus: tuple[str, ...]
    prefetched: bool
    rev: int
    offered_ns: int
    offers: int = 1
    accepted: bool = False
    recalled: bool = False
    charges: tuple[tuple[str, int, int], ...] = ()
    is_spoken_for: bool = False
    seat: Seat = NO_SEAT
    rides: bool = False
    progress_milli: int = -1
    progress_text: str = ""
    vram_used_bytes: int = -1
    vram_peak_bytes: int = -1
    batch_calls: int = 0
    started_ns: int = 0

    def see_vram(self, used_bytes: int) -> None:
        """Take in what its node measured of it on one card; below 0: nothing."""
        self.vram_used_bytes = used_bytes
        self.vram_peak_bytes = max(self.vram_peak_bytes, used_bytes)


@dataclass(slots=True)
class Task:
    """A task that has not ended.

    `attempt` counts all attempts ever granted; `charged` those that used up one of its own retries,
    `spent` those that used up the budget of another class (None: none did). `due_ns` is the
    monotonic end of a wait. `avoid` are nodes that failed it. `stop` says why it is STOPPING, and
    `grace_ms` with which grace (-1: its own). `created_ms` is when it was submitted. `ran` says
    that a node began it, whatever that was charged to.
    """

    id: int
    number: int
    batch: int
    spec: Spec
    session: bytes
    state: State = State.QUEUED
    attempt: int = 0
    charged: int = 0
    spent: Counter[FailureClass] | None = None
    due_ns: int = 0
    avoid: tuple[str, ...] = ()
    stop: StopReason = StopReason.NONE
    grace_ms: int = -1
    created_ms: int = 0
    ran: bool = False
    live: Attempt | None = field(default=None, repr=False)

    @property
    def has_begun(self) -> bool:
        """Tell whether a try of it began."""
        return bool(self.ran or self.charged or self.spent)


class IllegalMove(AssertionError):  # noqa: N818
    """A bug of ours: no such move is in the table."""


def move(task: Task, fact: Fact) -> None:
    """Move a task along the table; raise IllegalMove when the table has no such move."""
    target = TRANSITIONS.get((task.state, fact))
    if target is None:
        raise IllegalMove(f"task {task.number} is {task.state.word}: no move for {fact.name}")
    task.state = target
    task.ran |= fact is Fact.START
