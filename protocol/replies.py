"""What the scheduler answers to clients."""

from __future__ import annotations

from dataclasses import dataclass

from .message import Message


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
    With `epoch`, `rev` is the scheduler's revision at the time of the answer (0: it tells none):
    it grows with every turn that changes something, and what the Redis mirror holds is held
    against it.
    """

    TYPE = 67
    COLUMNS = ("tasks", "states", "codes", "attempts", "nodes", "values", "details")
    ADDED = {"rev": 2}  # noqa: RUF012 - read, never changed
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
    rev: int = 0


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


@dataclass(slots=True)
class EventRows(Message):
    """What happened up to the cursor (epoch, seq), oldest first; rows are documents.

    With `gap` rows that the cursor missed are gone, or belong to an epoch that is over.
    """

    TYPE = 73
    SINCE = 2
    epoch: int
    seq: int
    gap: bool
    rows: list[dict]  # type: ignore[type-arg]


@dataclass(slots=True)
class TaskAnswer(Message):
    """What came of reaching into the attempt of a task that runs on `node`.

    `code` is "" when it was done; `timeout` and `ended` (an `exec` that was killed) come with what
    there is; any other says why not: not_running, not_allowed, not_python, no_stack, not_started,
    busy, no_answer. `body` is {stack: str}, empty, or {returncode, out, err, out_bytes, err_bytes},
    where the sizes count what was printed and the texts are its beginning.
    """

    TYPE = 74
    SINCE = 2
    code: str
    message: str
    node: str
    attempt: int
    body: dict  # type: ignore[type-arg]


@dataclass(slots=True)
class Referenced(Message):
    """Say for each object of a References whether some task refers to it."""

    TYPE = 75
    SINCE = 3
    held: list[bool]
