"""How a task moves: its states, the facts that move it, and the table of all moves."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum

from ..protocol.resources import Request
from ..protocol.spec import TaskSpec


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

    READY = "the wait is over"
    GRANT = "a node was chosen"
    START = "the node runs it"
    SUCCEED = "it ended well"
    RETRY = "a try failed, another is left"
    FAIL = "a try failed, none is left"
    REQUEUE = "the attempt ended through no fault of the task"
    CANCEL = "cancel asked while no node holds it"
    STOP = "cancel asked while a node holds it"
    GONE = "its process tree is proven gone"


TRANSITIONS: dict[tuple[State, Fact], State] = {
    (State.WAITING, Fact.READY): State.QUEUED,
    (State.WAITING, Fact.CANCEL): State.CANCELLED,
    (State.QUEUED, Fact.GRANT): State.ASSIGNED,
    (State.QUEUED, Fact.CANCEL): State.CANCELLED,
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
}

TERMINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
ON_NODE = frozenset({State.ASSIGNED, State.RUNNING, State.STOPPING})


@dataclass(frozen=True, slots=True)
class Policy:
    """What a task wants of its life; equal ones are shared."""

    priority: int
    retries: int
    backoff_first_ms: int
    backoff_longest_ms: int
    grace_ms: int


@functools.lru_cache(maxsize=4_096)
def _policy(*fields: int) -> Policy:
    return Policy(*fields)


def policy_of(spec: TaskSpec) -> Policy:
    """Return the policy that a spec states; equal ones are one object."""
    return _policy(
        spec.priority,
        spec.retries,
        spec.backoff_first_ms,
        spec.backoff_longest_ms,
        spec.grace_ms,
    )


@functools.lru_cache(maxsize=4_096)
def shared(request: Request) -> Request:
    """Return one object for equal requests: a million tasks seldom ask a hundred ways."""
    return request


def kind_of(spec: TaskSpec) -> str:
    """Name what a spec runs, for the table of run times: a command counts with its arguments."""
    if spec.kind == "command":
        return command_kind(spec.argv)
    return f"{spec.kind} {spec.target}"


def command_kind(argv: Sequence[str]) -> str:
    """Name a command line in few bytes."""
    return f"command {zlib.crc32(chr(0).join(argv).encode('utf-8', 'replace')):08x}"


@dataclass(frozen=True, slots=True)
class Spec:
    """What the core keeps of a TaskSpec; the rest stays on disk until dispatch.

    `kind` names what runs (`command`, `function module:name`, `handler name`): measured run times
    are kept under it.
    """

    spec_id: int
    request: Request
    policy: Policy
    kind: str
    owner: str


@dataclass(slots=True)
class Attempt:
    """One try of a task on one node, while it lives.

    `rev` is the revision of the Offer that carried it last. `prefetched` says that it waits in
    the node's own queue and is not charged to the ledger; else `charges` holds what it takes of
    each card: (UUID, share in 1/1000, bytes). `recalled`: its node was asked to hand it back.
    """

    number: int
    node: str
    epoch: int
    token: bytes
    gpus: tuple[str, ...]
    prefetched: bool
    rev: int
    offered_ns: int
    offers: int = 1
    accepted: bool = False
    recalled: bool = False
    charges: tuple[tuple[str, int, int], ...] = ()
    progress_milli: int = -1
    progress_text: str = ""


@dataclass(slots=True)
class Task:
    """A task that has not ended.

    `attempt` counts all attempts ever granted; `charged` those that used up a retry. `due_ns` is
    the monotonic end of a wait. `avoid` is the node that failed it last. `grace_ms` is the grace
    of a cancel, -1 for the task's own.
    """

    id: int
    number: int
    batch: int
    spec: Spec
    session: bytes
    state: State = State.QUEUED
    attempt: int = 0
    charged: int = 0
    due_ns: int = 0
    avoid: str = ""
    grace_ms: int = -1
    live: Attempt | None = field(default=None, repr=False)


class IllegalMove(AssertionError):  # noqa: N818
    """A bug of ours: no such move is in the table."""


def move(task: Task, fact: Fact) -> None:
    """Move a task along the table; raise IllegalMove when the table has no such move."""
    target = TRANSITIONS.get((task.state, fact))
    if target is None:
        raise IllegalMove(f"task {task.number} is {task.state.word}: no move for {fact.name}")
    task.state = target
