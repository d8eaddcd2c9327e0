"""What nodes say to the scheduler: they join, hold, start and end attempts."""

from __future__ import annotations

from dataclasses import dataclass, field

from .message import Message


@dataclass(slots=True)
class Register(Message):
    """Join or come back (control): who we are, what we have, what we hold.

    The document of `capabilities` also has `residents`, as heartbeats have: a list of documents of
    `measures.Resident`.
    """

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

    `gpus` is by UUID what was measured: a document of `measures.GpuMeasure`. `vram_used` is empty
    or holds for each attempt the VRAM that its processes were seen to hold on one card (-1: not
    measured). `residents` are documents of `measures.Resident`: models in memory.
    `handler_orders` is the `digest` of the HandlerOrders that it goes by.

    `config_digest` names what operators changed that the node goes by (see `Configure`). `config`
    is empty, or new or due like `capabilities`: a document of `configured.py`.
    """

    TYPE = 33
    COLUMNS = ("tasks", "attempts", "phases")
    ADDED = {  # noqa: RUF012 - read, never changed
        "gpus": 4, "vram_used": 4, "residents": 4, "config_digest": 5, "config": 5,
        "handler_orders": 5,
    }  # fmt: skip
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
    gpus: dict = field(default_factory=dict)  # type: ignore[type-arg]
    vram_used: list[int] = field(default_factory=list)
    residents: list[dict] = field(default_factory=list)  # type: ignore[type-arg]
    config_digest: bytes = b""
    config: dict = field(default_factory=dict)  # type: ignore[type-arg]
    handler_orders: bytes = b""


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
    traceback, outputs (a list of [name, digest, size, kind]), logs (by stream: [digest, size]).
    `run_us` is the time the work itself took. `objects` is empty or holds for each row the claims
    (`claims.Verb.HAVE`) of the objects that its value, outputs and logs name. `vram_peaks` is empty
    or holds for each row the most VRAM that was measured of it on one card (-1: it was not).
    `batch_calls` is empty or holds for each row of how many calls the batch was that it ran in (0:
    its worker takes one at a time).
    """

    TYPE = 38
    COLUMNS = ("tasks", "attempts", "tokens", "outcomes", "values", "details", "run_us")
    ADDED = {"objects": 3, "vram_peaks": 4, "batch_calls": 5}  # noqa: RUF012 - read, never changed
    tasks: list[bytes]
    attempts: list[int]
    tokens: list[bytes]
    outcomes: list[int]
    values: list[bytes]
    details: list[bytes]
    run_us: list[int]
    objects: list[bytes] = field(default_factory=list)
    vram_peaks: list[int] = field(default_factory=list)
    batch_calls: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Answered(Message):
    """What came of an Ask; `code`, `message` and `body` are those of `TaskAnswer`."""

    TYPE = 39
    SINCE = 2
    request: int
    code: str
    message: str
    body: dict  # type: ignore[type-arg]


@dataclass(slots=True)
class Described(Message):
    """What attempts are that the scheduler asked about (see `Describe`).

    A document holds `owner`, `spec` (a TaskSpec, of which an agent that took the attempt over knows
    little: then `is_whole` is False), `args`, `batch`, `gpus` and `token`.
    """

    TYPE = 55
    SINCE = 5
    COLUMNS = ("tasks", "attempts", "documents")
    tasks: list[bytes]
    attempts: list[int]
    documents: list[dict]  # type: ignore[type-arg]
