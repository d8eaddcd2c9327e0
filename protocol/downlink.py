"""What the scheduler says to nodes: what to run, what to stop, what may live."""

from __future__ import annotations

from dataclasses import dataclass, field

from .message import Message


@dataclass(slots=True)
class Registered(Message):
    """Welcome: where to connect, the timers, and which of the held attempts may live.

    Fenced tasks are stopped by the node when no Desired came for `fence_ms` (0: never). The store
    is at `store_port` of the same host (0: there is none). `wall_ms` is the scheduler's clock at
    this answer (0: it tells none). `handlers` are by name the settings of those that the scheduler
    declares for this node, beside the node's own. One that `is_held` was restored from a backup and
    waits for its operator: until then the node's handlers stay what they are.
    """

    TYPE = 96
    COLUMNS = ("tasks", "attempts")
    ADDED = {  # noqa: RUF012 - read, never changed
        "fence_ms": 2, "store_port": 3, "wall_ms": 3, "handlers": 4, "is_held": 5
    }  # fmt: skip
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
    fence_ms: int = 0
    store_port: int = 0
    wall_ms: int = 0
    handlers: dict = field(default_factory=dict)  # type: ignore[type-arg]
    is_held: bool = False


@dataclass(slots=True)
class Offer(Message):
    """Attempts granted to the node, with what they need.

    Each names one of `specs` (encoded TaskSpec documents) with its owner; `gpus` lists the UUIDs
    granted; `batches` holds the batch id or nothing; `prefetched` ones wait in the node's own
    queue for a free slot. `inputs` is empty or holds for each row the claims (`claims.Verb.READ`,
    one after the other) of the objects that its argument names; `spec_inputs` for each spec.
    """

    TYPE = 97
    ADDED = {"inputs": 3, "spec_inputs": 3}  # noqa: RUF012 - read, never changed
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
    inputs: list[bytes] = field(default_factory=list)
    spec_inputs: list[bytes] = field(default_factory=list)


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
    """What may live, renewing its lease: anything offered before `rev` and not listed must end.

    `answers` is the `seq` of the heartbeat that this answers (0: unknown): a lease counts from
    when that was said.
    """

    TYPE = 99
    COLUMNS = ("tasks", "attempts")
    ADDED = {"answers": 2}  # noqa: RUF012 - read, never changed
    incarnation: bytes
    rev: int
    lease_ms: int
    tasks: list[bytes]
    attempts: list[int]
    answers: int = 0


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


@dataclass(slots=True)
class Ask(Message):
    """Reach into an attempt (see `AskTask`); the answer is one Answered on the uplink.

    A `request` that was done already is not done again, only answered.
    """

    TYPE = 103
    SINCE = 2
    incarnation: bytes
    request: int
    task: bytes
    attempt: int
    verb: str
    body: dict  # type: ignore[type-arg]


@dataclass(slots=True)
class ForgetFaults(Message):
    """Lend these GPUs again: a person says that the faults which their node states are over."""

    TYPE = 104
    SINCE = 4
    incarnation: bytes
    gpus: list[str]


@dataclass(slots=True)
class Evict(Message):
    """Let models go that nobody calls: their room is needed. One that is called now stays.

    A row names one worker: of which handler, with which model, on which card ("": on none).
    """

    TYPE = 105
    SINCE = 4
    COLUMNS = ("handlers", "models", "gpu_uuids")
    incarnation: bytes
    rev: int
    handlers: list[str]
    models: list[str]
    gpu_uuids: list[str]


@dataclass(slots=True)
class HandlerOrders(Message):
    """What the scheduler wants of a node's handlers, whole; said until a heartbeat names `digest`.

    `declared` are by name the settings of those that the scheduler's configuration gives to this
    node. `disabled` says by name why one is to take no calls; `reload` which of them are to be
    loaded anew: a number that the node repeats when nothing of before is left (see
    `capabilities.Handler.reloaded`).
    """

    TYPE = 106
    SINCE = 5
    incarnation: bytes
    digest: bytes
    declared: dict  # type: ignore[type-arg]
    disabled: dict  # type: ignore[type-arg]
    reload: dict  # type: ignore[type-arg]


@dataclass(slots=True)
class Describe(Message):
    """Say what these attempts are: the scheduler's journal was restored and does not know them."""

    TYPE = 108
    SINCE = 5
    COLUMNS = ("tasks", "attempts")
    incarnation: bytes
    tasks: list[bytes]
    attempts: list[int]
