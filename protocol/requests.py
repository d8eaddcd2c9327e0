"""What clients ask of the scheduler, on the control channel."""

from __future__ import annotations

from dataclasses import dataclass, field

from .message import OUTPUT_CHUNK_BYTES, Message


@dataclass(slots=True)
class Submit(Message):
    """Store tasks: each names one of `specs` and brings its own argument.

    `submit_key` (16 random bytes) makes a resent frame answered, not repeated. `batch_key` (empty
    or 16 random bytes) puts the tasks into one batch, as members from `offset` on; frames of one
    batch may arrive in any order. `args` holds an encoded (args, kwargs) for functions and
    handlers, and the array index in ASCII (or nothing) for commands. `once` is empty or holds one
    idempotency key (or "") per task. `session` is the WATCH session that wants to hear of them.
    `objects` is empty or holds for each task the claims (`claims.Verb.HAVE`, one after the other)
    of the objects that its argument names; `spec_objects` likewise for each spec. `numbers` is
    empty or holds for each task the numeric keyword arguments that its spec's `vram` and `size`
    name.
    """

    TYPE = 1
    COLUMNS = ("spec_index", "args")
    ADDED = {"objects": 3, "spec_objects": 3, "numbers": 4}  # noqa: RUF012 - read, never changed
    submit_key: bytes
    session: bytes
    specs: list[dict]  # type: ignore[type-arg]  # documents: spec.TaskSpec
    spec_index: list[int]
    args: list[bytes]
    batch_key: bytes = b""
    offset: int = 0
    once: list[str] = field(default_factory=list)
    allow_infeasible: bool = False
    objects: list[bytes] = field(default_factory=list)
    spec_objects: list[bytes] = field(default_factory=list)
    numbers: list[dict] = field(default_factory=list)  # type: ignore[type-arg]  # {name: number}


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
    """Ask for the scheduler's settings with their origins; `key` narrows to one, or to a table.

    `node` asks for those of a node, as it reported them.
    """

    TYPE = 13
    ADDED = {"node": 5}  # noqa: RUF012 - read, never changed
    key: str = ""
    node: str = ""


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
    """Ask how far a batch is: a document with counts by state, rate and first failures.

    Members of a batch that ended long ago are counted in slices: `next` of the answer is the
    `start` of the next one, 0 after the last.
    """

    TYPE = 17
    ADDED = {"start": 3}  # noqa: RUF012 - read, never changed
    batch: bytes
    start: int = 0


@dataclass(slots=True)
class Drain(Message):
    """Give a node no new work; what is left after `deadline_ms` (0: never) is moved elsewhere.

    Of a node that is drained already, a reason or a deadline that is not given stays as it was.
    """

    TYPE = 18
    SINCE = 2
    node: str
    reason: str = ""
    deadline_ms: int = 0


@dataclass(slots=True)
class Undrain(Message):
    """Give a node work again."""

    TYPE = 19
    SINCE = 2
    node: str


@dataclass(slots=True)
class DeclareLost(Message):
    """Somebody saw that a node is off: its tasks move now, fenced ones as well."""

    TYPE = 20
    SINCE = 2
    node: str


@dataclass(slots=True)
class ForgetNode(Message):
    """Strike a node that is off from the list; it may register again."""

    TYPE = 21
    SINCE = 2
    node: str


@dataclass(slots=True)
class Events(Message):
    """Ask what happened after the cursor; epoch 0 asks for the newest rows.

    The answer waits up to `wait_ms` for the first row. `filters` may hold `node`: str, `task` and
    `batch`: id bytes, `kinds`: [str] (`node` means all `node.*`), `since_ms`: int.
    """

    TYPE = 22
    SINCE = 2
    epoch: int
    seq: int
    wait_ms: int
    limit: int
    filters: dict  # type: ignore[type-arg]


@dataclass(slots=True)
class Prune(Message):
    """Remove tasks that have ended: these (at most `PRUNE_MAX`), or a slice of those that match.

    `filters` are those of ListTasks, `before_ms` (0: any) is when they had ended. The answer is a
    document: `removed`, `open` and `unknown` of those named, and the `cursor` for the next slice,
    empty after the last. With `dry_run` nothing is removed.
    """

    TYPE = 23
    SINCE = 2
    tasks: list[bytes]
    filters: dict  # type: ignore[type-arg]
    before_ms: int = 0
    cursor: str = ""
    dry_run: bool = False


@dataclass(slots=True)
class AskTask(Message):
    """Reach into a task that runs: `verb` is `stack`, `signal` or `exec`.

    `body` is empty, {signal: its name without SIG}, or {argv: [str], timeout_ms}. `key` is 16
    random bytes: what is asked again with the same key is not done again.
    """

    TYPE = 24
    SINCE = 2
    key: bytes
    task: bytes
    verb: str
    body: dict  # type: ignore[type-arg]


@dataclass(slots=True)
class FindStore(Message):
    """Ask where the store is: a document with its `port`, on the host of the scheduler."""

    TYPE = 25
    SINCE = 3


@dataclass(slots=True)
class TaskObjects(Message):
    """Ask for the objects of a task: its files, its outputs, and the right to read them.

    The answer is a document: `files` and `outputs` with [name, digest, size, kind] each, `logs`
    (by stream: [digest, size]), and `claims` (`claims.Verb.READ`, one after the other) for these
    and for the objects that its argument and its value name.
    """

    TYPE = 26
    SINCE = 3
    task: bytes


@dataclass(slots=True)
class References(Message):
    """The store asks which of its objects some task refers to; at most `REFERENCES_MAX`."""

    TYPE = 27
    SINCE = 3
    digests: list[bytes]


@dataclass(slots=True)
class ListBatches(Message):
    """List batches, newest first: a page of documents like those of ShowBatch, in short.

    `active`: only those with open tasks. A batch that would take long to count has no `counts`.
    """

    TYPE = 30
    SINCE = 3
    active: bool = False
    owner: str = ""
    limit: int = 100
    cursor: str = ""


@dataclass(slots=True)
class ListGpus(Message):
    """List the GPUs of all nodes or of one; `gpu`: a UUID, the beginning of one, or NODE:INDEX."""

    TYPE = 40
    SINCE = 4
    node: str = ""
    gpu: str = ""


@dataclass(slots=True)
class CordonGpu(Message):
    """Give a GPU no new work, until it is uncordoned; without a reason a known one stays."""

    TYPE = 41
    SINCE = 4
    gpu: str
    reason: str = ""


@dataclass(slots=True)
class UncordonGpu(Message):
    """Give a GPU work again, also one that was cordoned for its health."""

    TYPE = 42
    SINCE = 4
    gpu: str


@dataclass(slots=True)
class ListStats(Message):
    """List what is known of each kind of task, by name; `kind`: of those that it begins."""

    TYPE = 48
    SINCE = 4
    kind: str = ""
