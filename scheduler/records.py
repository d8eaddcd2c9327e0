"""What the core asks for: facts to commit first, then messages to send."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ..protocol.codec import VERSION_OLDEST
from ..protocol.messages import Message


class SubmissionRow(NamedTuple):
    """One row per submission frame, by which a resent frame is answered.

    The tasks are numbered `first_number` to `first_number + members - 1`, in the frame's order.
    """

    principal: str
    submit_key: bytes
    batch: int
    batch_key: bytes
    offset: int
    first_number: int
    members: int
    created_ms: int


class TaskRow(NamedTuple):
    """A new task; `retry_of` is the id of the task it copies, or 0.

    `sized_bytes` of VRAM and `size_class` are what its arguments make of its spec's expressions.
    """

    id: int
    number: int
    batch: int
    spec_id: int
    owner: str
    name: str
    session: bytes
    args: bytes
    once: str
    retry_of: int
    created_ms: int
    objects: bytes = b""
    sized_bytes: int = 0
    size_class: int = 0


class SpecRow(NamedTuple):
    """An encoded spec, with the objects that it names (see `claims.join_objects`)."""

    spec_id: int
    body: bytes
    objects: bytes = b""


class Payload(NamedTuple):
    """What a task is called with: its encoded argument, with what that names and comes to."""

    args: bytes = b""
    objects: bytes = b""
    sized_bytes: int = 0
    size_class: int = 0


class TaskMoved(NamedTuple):
    """The durable position of a task at the end of a turn (never ASSIGNED or RUNNING).

    `due_ms` is the wall-clock end of a wait, `stop` and `grace_ms` why and how it is stopped.
    `avoid` are names of nodes and `spent` counts by class, as text; `memory_bytes` and
    `vram_bytes` what was raised (0: as submitted).
    """

    id: int
    state: int
    charged: int
    due_ms: int
    grace_ms: int
    avoid: str
    stop: int = 0
    spent: str = ""
    memory_bytes: int = 0
    vram_bytes: int = 0


class AttemptGranted(NamedTuple):
    """A new attempt; while it has no `AttemptEnded`, its task is on a node.

    `asked` is what was granted, where the spec does not say it (see `asks.py`).
    """

    task: int
    number: int
    node: str
    epoch: int
    gpus: tuple[str, ...]
    granted_ms: int
    asked: bytes = b""


class AttemptEnded(NamedTuple):
    """How an attempt ended: `outcome` is `succeeded`, `failed`, `killed`, `returned`, `rejected`,
    `lost` or, for a late result of an attempt of `node` that was already ended, `superseded`.

    `vram_peak_bytes` is the most that was measured of it on one card, -1 where it was not;
    `batch_calls` counts the calls of the batch that it ran in, 0 where there was none.
    """

    task: int
    number: int
    node: str
    outcome: str
    code: str
    message: str
    ended_ms: int
    run_us: int
    vram_peak_bytes: int = -1
    batch_calls: int = 0


class TaskResult(NamedTuple):
    """The end of a task: written once. `state` is a terminal `State`.

    `objects` are those that value, outputs and logs name (see `claims.join_objects`).
    """

    id: int
    state: int
    code: str
    value: bytes
    details: bytes
    ended_ms: int
    objects: bytes = b""


class NodeRow(NamedTuple):
    """What is durable of a node; `capabilities` is an encoded document.

    `lost`: it was given up. `drained_ms` is when a drain was asked (0: it takes work), with its
    reason and the time at which what is left moves on (0: never).
    """

    name: str
    boot_id: str
    capabilities: bytes
    seen_ms: int
    lost: bool = False
    drained_ms: int = 0
    drain_reason: str = ""
    drain_due_ms: int = 0
    protocol: int = VERSION_OLDEST


class LearnedRow(NamedTuple):
    """What is known of the VRAM of tasks alike; `body` is an encoded document of `learned.py`."""

    key: str
    body: bytes
    changed_ms: int


class CordonRow(NamedTuple):
    """A GPU that gets no work since `since_ms`.

    `principal` is empty where its health alone is the reason. `since_ms` 0 takes the row away.
    `lifting` names who gives it back while its node still states the faults.
    """

    uuid: str
    node: str
    reason: str
    principal: str
    since_ms: int
    lifting: str = ""


class ConfigRow(NamedTuple):
    """An accepted configuration (see `config_versions.py`); `body` is an encoded document."""

    version: int
    at_ms: int
    author: str
    cause: str
    request_key: bytes
    body: bytes


class HandlerRow(NamedTuple):
    """What `principal` asked of a handler on a node ("": on all).

    It takes no calls since `since_ms` (0: it does). `reload` numbers the reload that the node is
    still to confirm (0: none). A row with neither is taken away.
    """

    handler: str
    node: str
    reason: str = ""
    principal: str = ""
    since_ms: int = 0
    reload: int = 0


class Floors(NamedTuple):
    """Where numbers go on after a restore.

    Tasks below `task_number` are those that were restored: their next attempt is `attempt` at
    least, since nodes may hold some that the journal never saw.
    """

    task_number: int = 0
    attempt: int = 0


class RecoveryRow(NamedTuple):
    """A restore that an operator has not released yet: when, from a backup of when, by whom."""

    since_ms: int
    backup_ms: int
    principal: str
    epoch_before: int


class OutcastRow(NamedTuple):
    """An attempt that an operator let go after a restore: whoever holds it stops it."""

    task: int
    attempt: int
    node: str
    principal: str
    at_ms: int


class AuditRow(NamedTuple):
    """One request of a principal that changed something."""

    at_ms: int
    principal: str
    verb: str
    subject: str


@dataclass(slots=True)
class Commit:
    """All that must be on disk before any effect of the same turn is sent.

    Rows of one list concern different keys, so each list can be written as one batch. New tasks
    come before moves and attempts.
    """

    submissions: list[SubmissionRow] = field(default_factory=list)
    specs: list[SpecRow] = field(default_factory=list)
    tasks: list[TaskRow] = field(default_factory=list)
    moved: dict[int, TaskMoved] = field(default_factory=dict)
    granted: list[AttemptGranted] = field(default_factory=list)
    ended: list[AttemptEnded] = field(default_factory=list)
    results: list[TaskResult] = field(default_factory=list)
    nodes: dict[str, NodeRow] = field(default_factory=dict)
    forgotten: list[str] = field(default_factory=list)
    learned: dict[str, LearnedRow] = field(default_factory=dict)
    cordons: dict[str, CordonRow] = field(default_factory=dict)
    handlers: dict[tuple[str, str], HandlerRow] = field(default_factory=dict)
    settled: list[int] = field(default_factory=list)
    outcasts: list[OutcastRow] = field(default_factory=list)
    released: bool = False
    audit: list[AuditRow] = field(default_factory=list)
    config: list[ConfigRow] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(
            self.tasks
            or self.granted
            or self.ended
            or self.results
            or self.moved
            or self.nodes
            or self.forgotten
            or self.submissions
            or self.learned
            or self.cordons
            or self.handlers
            or self.settled
            or self.outcasts
            or self.released
            or self.audit
            or self.config
        )


class Granted(NamedTuple):
    """One attempt of an offer; the shell adds spec, owner and argument.

    `asked` is what was granted, where the spec does not say it (see `asks.py`).
    """

    task: int
    batch: int
    spec_id: int
    owner: str
    attempt: int
    token: bytes
    gpus: tuple[str, ...]
    prefetched: bool
    asked: bytes = b""


@dataclass(slots=True)
class Offering:
    """Attempts to offer to one node, to be sent as one or more Offer frames.

    When the shell must split it for size, all frames but the last carry `rev - 1`: a node that
    states `rev` has then seen all of it.
    """

    node: str
    incarnation: bytes
    rev: int
    grants: list[Granted]


@dataclass(slots=True)
class ToNode:
    """A message for one node's dispatch pipe."""

    node: str
    message: Message


class Change(NamedTuple):
    """News of a task for whoever watches it; `owner` and `batch` say whose and which it is."""

    session: bytes
    task: int
    state: int
    code: str
    attempt: int
    node: str
    value: bytes
    details: bytes
    owner: str = ""
    batch: int = 0


class Note(NamedTuple):
    """Something for the log, told by a core that cannot log: an event name and its facts."""

    level: str
    event: str
    facts: dict[str, object]


@dataclass(slots=True)
class Effects:
    """All that one step asks of the shell: commit, rebind, unbind, replies, then the rest.

    `rebind` lists nodes with a new incarnation: their dispatch socket is closed and bound anew
    before the reply to their Register, whose port the shell fills in; `unbind` those that were
    forgotten. `to_nodes` is in the order in which one node must see it.
    """

    commit: Commit = field(default_factory=Commit)
    rebind: list[str] = field(default_factory=list)
    unbind: list[str] = field(default_factory=list)
    replies: list[tuple[int, Message]] = field(default_factory=list)
    to_nodes: list[ToNode | Offering] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
