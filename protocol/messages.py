"""What is on the wire: every message, as a slotted dataclass with its number and its columns.

Bodies travel as arrays in field order. Ids are 16 bytes. Fields named in `COLUMNS` are parallel
lists of one length. A `dict` field is a document: bounded in depth and counts by the codec, its
content checked by whoever reads it. The sender is its CURVE key and never a field.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar

BATCH_MAX = 10_000
MAP_FRAME_TASKS = 1_000
VALUE_BYTES_MAX = 64 * 1024
SOURCE_BYTES_MAX = 64 * 1024
OUTPUT_KEPT_BYTES = 64 * 1024
OUTPUT_CHUNK_BYTES = 256 * 1024


class Message:
    """The root of all messages; `TYPE` is the number on the wire."""

    __slots__ = ()
    TYPE: ClassVar[int]
    COLUMNS: ClassVar[tuple[str, ...]] = ()


class Phase(IntEnum):
    """Where an attempt is on its node."""

    QUEUED = 0
    RUNNING = 1
    ENDED = 2


class Outcome(IntEnum):
    """How an attempt ended.

    KILLED: stopped on the scheduler's word, the tree proven gone. RETURNED: never started, or
    taken back; nothing is charged.
    """

    SUCCEEDED = 0
    FAILED = 1
    KILLED = 2
    RETURNED = 3


# --- client -> scheduler, on control ---------------------------------------------------------


@dataclass(slots=True)
class Submit(Message):
    """Store tasks: each names one of `specs` and brings its own argument.

    `submit_key` (16 random bytes) makes a resent frame answered, not repeated. `batch_key` (empty
    or 16 random bytes) puts the tasks into one batch, as members from `offset` on; frames of one
    batch may arrive in any order. `args` holds an encoded (args, kwargs) for functions and
    handlers, and the array index in ASCII (or nothing) for commands. `once` is empty or holds one
    idempotency key (or "") per task. `session` is the WATCH session that wants to hear of them.
    """

    TYPE = 1
    COLUMNS = ("spec_index", "args")
    submit_key: bytes
    session: bytes
    specs: list[dict]  # type: ignore[type-arg]  # documents: spec.TaskSpec
    spec_index: list[int]
    args: list[bytes]
    batch_key: bytes = b""
    offset: int = 0
    once: list[str] = field(default_factory=list)
    allow_infeasible: bool = False


@dataclass(slots=True)
class Cancel(Message):
    """Cancel tasks and whole batches; `grace_ms` < 0 takes the task's own grace."""

    TYPE = 2
    tasks: list[bytes]
    batches: list[bytes]
    grace_ms: int = -1


@dataclass(slots=True)
class Retry(Message):
    """Submit copies of ended tasks under new ids; with `failed_only` skip the successful ones."""

    TYPE = 3
    submit_key: bytes
    session: bytes
    tasks: list[bytes]
    batches: list[bytes]
    failed_only: bool = False
    changes: dict = field(default_factory=dict)  # type: ignore[type-arg]  # a partial TaskSpec


@dataclass(slots=True)
class Watch(Message):
    """Ask for changes after the cursor; the answer waits up to `wait_ms` for the first one."""

    TYPE = 4
    session: bytes
    epoch: int
    seq: int
    wait_ms: int


@dataclass(slots=True)
class States(Message):
    """Ask where tasks stand, with results where they ended; `session` also watches them."""

    TYPE = 5
    tasks: list[bytes]
    session: bytes = b""


@dataclass(slots=True)
class Resolve(Message):
    """Turn what a user typed (`last`, short numbers, ids, batches, ranges) into ids."""

    TYPE = 6
    refs: list[str]


@dataclass(slots=True)
class ListTasks(Message):
    """List tasks, newest first.

    `filters` may hold `active`: bool, `states`: [str], `owner`, `node`, `name`: str, `batch`: id
    bytes, `tags`: {key: value}. `cursor` is what the last page returned.
    """

    TYPE = 7
    filters: dict  # type: ignore[type-arg]
    limit: int = 100
    cursor: str = ""


@dataclass(slots=True)
class ShowTask(Message):
    """Ask for all that is known of one task, every attempt included."""

    TYPE = 8
    task: bytes


@dataclass(slots=True)
class Explain(Message):
    """Ask why a task is where it is."""

    TYPE = 9
    task: bytes


@dataclass(slots=True)
class Logs(Message):
    """Ask for output of an attempt (0: the newest) from `offset`; streams are `out` and `err`."""

    TYPE = 10
    task: bytes
    attempt: int
    stream: str
    offset: int
    bytes_max: int = OUTPUT_CHUNK_BYTES


@dataclass(slots=True)
class ListNodes(Message):
    TYPE = 11
    name: str = ""


@dataclass(slots=True)
class Status(Message):
    """Ask for the cluster's name, version, epoch, counts per state and nodes."""

    TYPE = 12


@dataclass(slots=True)
class ShowConfig(Message):
    """Ask for the scheduler's settings with their origins; `key` narrows to one."""

    TYPE = 13
    key: str = ""


@dataclass(slots=True)
class ListKeys(Message):
    TYPE = 14


@dataclass(slots=True)
class AllowKey(Message):
    """Admit a public key (Z85, 40 characters) under a name and a role."""

    TYPE = 15
    name: str
    role: str
    public_key: str


@dataclass(slots=True)
class RevokeKey(Message):
    """Withdraw a key by name; effective on its next message."""

    TYPE = 16
    name: str


@dataclass(slots=True)
class ShowBatch(Message):
    TYPE = 17
    batch: bytes


# --- scheduler -> client ------------------------------------------------------------------------


@dataclass(slots=True)
class Failure(Message):
    """The typed refusal of one request."""

    TYPE = 64
    code: str
    message: str
    field: str = ""
    retry_after_ms: int = 0


@dataclass(slots=True)
class Submitted(Message):
    """Name what was stored: `tasks` in the order of the request, and the batch if there is one.

    For a batch `tasks` is empty: member `offset + i` of `batch` is the i-th task of the request.
    """

    TYPE = 65
    tasks: list[bytes]
    batch: bytes = b""
    offset: int = 0
    count: int = 0
    first_number: int = 0


@dataclass(slots=True)
class Cancelled(Message):
    """Say for each task asked about what the cancel did.

    `verdicts`: `cancelled` (it never ran), `stopping`, `ended` (was already) or `not_found`.
    """

    TYPE = 66
    COLUMNS = ("tasks", "verdicts")
    tasks: list[bytes]
    verdicts: list[str]


@dataclass(slots=True)
class Changes(Message):
    """Changes of watched tasks up to the cursor (epoch, seq), in order.

    `values` are encoded results; `details` are msgpack documents (see `Results`) of ended tasks.
    With `gap` the ring no longer holds what the cursor missed: ask `States` for every open id.
    The same shape answers `States` (epoch and seq are then where to watch from; a task that is
    unknown has the state `not_found`; tasks left out for size are to be asked again).
    """

    TYPE = 67
    COLUMNS = ("tasks", "states", "codes", "attempts", "nodes", "values", "details")
    epoch: int
    seq: int
    gap: bool
    tasks: list[bytes]
    states: list[str]
    codes: list[str]
    attempts: list[int]
    nodes: list[str]
    values: list[bytes]
    details: list[bytes]


@dataclass(slots=True)
class Resolved(Message):
    """Ids for each ref, and batches among them: `batches[i]` says how ref i was read."""

    TYPE = 68
    tasks: list[bytes]
    batches: list[bytes]


@dataclass(slots=True)
class Page(Message):
    """One page of a listing: rows are documents; `total` counts all that match."""

    TYPE = 69
    rows: list[dict]  # type: ignore[type-arg]
    total: int
    cursor: str = ""


@dataclass(slots=True)
class Document(Message):
    """One document: a task, a node, a status, settings."""

    TYPE = 70
    body: dict  # type: ignore[type-arg]


@dataclass(slots=True)
class Output(Message):
    """A piece of output: `total` bytes exist so far, `ended` when there will be no more.

    From the node it carries `request` of the Fetch that asked; to the client `request` is 0.
    `lost` counts bytes before `offset + len(data)` that were dropped by a bound.
    """

    TYPE = 71
    request: int
    task: bytes
    attempt: int
    stream: str
    offset: int
    data: bytes
    total: int
    ended: bool
    lost: int = 0
    error: str = ""


@dataclass(slots=True)
class Done(Message):
    """A change was made; `message` says which."""

    TYPE = 72
    message: str


# --- node -> scheduler ------------------------------------------------------------------------


@dataclass(slots=True)
class Register(Message):
    """Join or come back (control): who we are, what we have, what we hold."""

    TYPE = 32
    COLUMNS = ("tasks", "attempts", "tokens", "phases")
    name: str
    incarnation: bytes
    boot_id: str
    protocol_min: int
    protocol_max: int
    capabilities: dict  # type: ignore[type-arg]  # capabilities.Capabilities
    tasks: list[bytes]
    attempts: list[int]
    tokens: list[bytes]
    phases: list[int]


@dataclass(slots=True)
class Heartbeat(Message):
    """What the node holds now, level-triggered.

    `rev` is the highest revision of an Offer or Desired that this statement has taken in, so that
    an attempt offered later is not taken for missing. `capabilities` is empty unless they are new
    (at first, on change, every 15th).
    """

    TYPE = 33
    COLUMNS = ("tasks", "attempts", "phases")
    incarnation: bytes
    seq: int
    rev: int
    tasks: list[bytes]
    attempts: list[int]
    phases: list[int]
    gpu_free: dict  # type: ignore[type-arg]  # {uuid: free bytes}
    probe_age_ms: int
    loop_lag_ms: int
    capabilities: dict  # type: ignore[type-arg]


@dataclass(slots=True)
class Accept(Message):
    TYPE = 34
    COLUMNS = ("tasks", "attempts")
    tasks: list[bytes]
    attempts: list[int]


@dataclass(slots=True)
class Reject(Message):
    """Attempts that the node's own guard refused; nothing ran."""

    TYPE = 35
    COLUMNS = ("tasks", "attempts", "tokens", "reasons")
    tasks: list[bytes]
    attempts: list[int]
    tokens: list[bytes]
    reasons: list[str]


@dataclass(slots=True)
class Started(Message):
    TYPE = 36
    COLUMNS = ("tasks", "attempts")
    tasks: list[bytes]
    attempts: list[int]


@dataclass(slots=True)
class Progress(Message):
    TYPE = 37
    COLUMNS = ("tasks", "attempts", "milli", "texts")
    tasks: list[bytes]
    attempts: list[int]
    milli: list[int]
    texts: list[str]


@dataclass(slots=True)
class Results(Message):
    """Attempts that ended, kept and resent by the node until acknowledged.

    `outcomes` are `Outcome`. `values` hold the encoded value of a function that succeeded.
    `details` are empty or msgpack documents with any of: code, message, exit_code, signal, out,
    out_tail, out_bytes, err, err_tail, err_bytes (what was printed: head, tail, size), leftovers,
    traceback. `run_us` is the time the work itself took.
    """

    TYPE = 38
    COLUMNS = ("tasks", "attempts", "tokens", "outcomes", "values", "details", "run_us")
    tasks: list[bytes]
    attempts: list[int]
    tokens: list[bytes]
    outcomes: list[int]
    values: list[bytes]
    details: list[bytes]
    run_us: list[int]


# --- scheduler -> node ------------------------------------------------------------------------


@dataclass(slots=True)
class Registered(Message):
    """Welcome: where to connect, the timers, and which of the held attempts may live."""

    TYPE = 96
    COLUMNS = ("tasks", "attempts")
    name: str
    rev: int
    dispatch_port: int
    uplink_port: int
    heartbeat_port: int
    beacon_port: int
    heartbeat_ms: int
    lease_ms: int
    tasks: list[bytes]
    attempts: list[int]


@dataclass(slots=True)
class Offer(Message):
    """Attempts granted to the node, with what they need.

    Each names one of `specs` (encoded TaskSpec documents) with its owner; `gpus` lists the UUIDs
    granted; `batches` holds the batch id or nothing; `prefetched` ones wait in the node's own
    queue for a free slot.
    """

    TYPE = 97
    COLUMNS = ("spec_index", "tasks", "attempts", "tokens", "args", "gpus", "batches", "prefetched")
    incarnation: bytes
    rev: int
    specs: list[bytes]
    owners: list[str]
    spec_index: list[int]
    tasks: list[bytes]
    attempts: list[int]
    tokens: list[bytes]
    args: list[bytes]
    gpus: list[list[str]]
    batches: list[bytes]
    prefetched: list[bool]


@dataclass(slots=True)
class Kill(Message):
    """Stop attempts by name; `grace_ms` < 0 takes the task's own grace. Idempotent."""

    TYPE = 98
    COLUMNS = ("tasks", "attempts", "grace_ms", "reasons")
    incarnation: bytes
    tasks: list[bytes]
    attempts: list[int]
    grace_ms: list[int]
    reasons: list[str]


@dataclass(slots=True)
class Desired(Message):
    """What may live, renewing its lease: anything offered before `rev` and not listed must end."""

    TYPE = 99
    COLUMNS = ("tasks", "attempts")
    incarnation: bytes
    rev: int
    lease_ms: int
    tasks: list[bytes]
    attempts: list[int]


@dataclass(slots=True)
class ResultAck(Message):
    TYPE = 100
    COLUMNS = ("tasks", "attempts")
    incarnation: bytes
    tasks: list[bytes]
    attempts: list[int]


@dataclass(slots=True)
class Fetch(Message):
    """Ask for output from `offset`; the answer is one Output on the uplink."""

    TYPE = 101
    incarnation: bytes
    request: int
    task: bytes
    attempt: int
    stream: str
    offset: int
    bytes_max: int


@dataclass(slots=True)
class Beacon(Message):
    """The scheduler lives in this epoch; nodes that know a lower one register again."""

    TYPE = 102
    cluster: str
    config_rev: int
    admission_window_ms: int


MESSAGES: dict[int, type[Message]] = {kind.TYPE: kind for kind in Message.__subclasses__()}
