"""What agent, runner and worker say to each other: length-prefixed frames on unix sockets.

A frame is a `u32` length (little endian, of what follows), one type byte and a body. Control bodies
are JSON of one of the tuples below; CALLS and RESULTS are structs, so that the runner, which has
only the standard library, can route calls without touching arguments or results. Everything here
runs on Python 3.9.

An attempt is named by `(task, attempt)`: the 16 bytes of the task's id and a number that
only grows. Every attempt handed to a runner gets exactly one answer: a `Finished` (command) or
an `Outcome` (call, inside `Results`), repeated at each attach until `Ack` names it.
"""

from __future__ import annotations

import base64
import json
import struct
from typing import NamedTuple, Union

from .asks import Answer as Answer
from .asks import Attach as Attach
from .asks import CallLimits as CallLimits
from .asks import Exec as Exec
from .asks import Renew as Renew
from .asks import Signal as Signal
from .asks import Stack as Stack
from .asks import Stuck as Stuck
from .batches import CALLS_MAX as CALLS_MAX
from .batches import FAILED as FAILED
from .batches import OK as OK
from .batches import RETURNED as RETURNED
from .batches import STORED as STORED
from .batches import Call as Call
from .batches import Calls as Calls
from .batches import Failure as Failure
from .batches import FrameError as FrameError
from .batches import Outcome as Outcome
from .batches import Results as Results
from .batches import attempt_key as attempt_key
from .batches import join_key as join_key
from .batches import pack_calls, pack_results, unpack_calls, unpack_results
from .batches import pack_failure as pack_failure
from .batches import split_key as split_key
from .batches import unpack_failure as unpack_failure

PROTOCOL = 5
PROTOCOL_OLDEST = 1
FRAME_BYTES_MAX = 8 << 20
CALLS_OPEN_MAX = 8192
"""Most unanswered calls in one runner; above it a batch is refused as `full`."""
OUTPUT_BYTES_MAX = 64 << 20
TAIL_BYTES_MAX = 64 << 10
INLINE_BYTES_MAX = 4 << 10
PROGRESS_TEXT_MAX = 200
LOG_TAIL_BYTES_MAX = 4 << 10
STACK_CHARS_MAX = 16 << 10


class Run(NamedTuple):
    """Agent -> runner: run one command. `env` is the whole environment, PATH is searched in it.

    `cwd` None means the attempt's own `work/` directory. At most one of `stdin_path` and
    `stdin_blob`; neither means /dev/null. `timeout_s` 0 means none, and so do `silence_s` (without
    output and progress) and `fence_boot_ns` (see Renew). `secrets` join the environment of the
    command itself, and of nothing that runs beside it; they came with protocol 3. `task_dir`
    stands for the attempt's own `work/` directory: one that the agent has filled. `user` is who it
    runs as, through the helper that listens at `helper`; empty: the agent's own. Those came with
    protocol 5; older runners are given no work.
    """

    task: bytes
    attempt: int
    argv: list[str]
    env: dict[str, str]
    cwd: str | None = None
    stdin_path: str | None = None
    stdin_blob: bytes | None = None
    timeout_s: float = 0.0
    grace_s: float = 5.0
    output_bytes_max: int = OUTPUT_BYTES_MAX
    silence_s: float = 0.0
    fence_boot_ns: int = 0
    secrets: dict[str, str] = {}  # noqa: RUF012 - a default of a tuple, never changed
    task_dir: str | None = None
    user: str = ""
    helper: str = ""


MODEL_VARIABLE = "REMUDA_MODEL"
"""Names the model to a worker that is to load that one alone."""


class Host(NamedTuple):
    """Agent -> runner: start a warm worker and keep it. One worker per runner, bound for life.

    `worker` is the agent's name for it (its pool key); a repeated Host with the same name is
    ignored. `argv0` is the interpreter's path. `sys_path` entries go in front. `handler` is
    `module:Class`, or None for a worker of plain functions. `main_name`, `main_source` and
    `main_sha256` carry the one file of a script whose functions are called. `secrets` as in Run.
    `tasks_dir` is where the agent keeps a folder for each attempt that has files; without a `cwd`
    calls run there, or in an empty directory of the worker. The handler is made with `options`;
    with a `max_batch` above 1 it takes up to so many calls as lists, the first of which waits
    `max_wait_s` for more. These came with protocol 4.
    """

    worker: str
    python: str
    env: dict[str, str]
    cwd: str | None = None
    sys_path: list[str] = []  # noqa: RUF012 - a default of a tuple, never changed
    handler: str | None = None
    main_name: str | None = None
    main_source: bytes | None = None
    main_sha256: str | None = None
    load_timeout_s: float = 0.0
    grace_s: float = 5.0
    output_bytes_max: int = OUTPUT_BYTES_MAX
    secrets: dict[str, str] = {}  # noqa: RUF012 - as above
    tasks_dir: str = ""
    max_batch: int = 1
    max_wait_s: float = 0.0
    options: dict[str, object] = {}  # noqa: RUF012 - as above


class Cancel(NamedTuple):
    """Agent -> runner: end one attempt. A call not started is dropped (RETURNED, `cancelled`).

    With `only_if_waiting` what has started is left alone.
    """

    task: bytes
    attempt: int
    grace_s: float = 5.0
    only_if_waiting: bool = False


class Ack(NamedTuple):
    """Agent -> runner: forget these answers. Output files stay until the agent removes them."""

    records: list[int] = []  # noqa: RUF012 - as above
    attempts: list[list[object]] = []  # noqa: RUF012 - [task as hex, attempt] of commands


class EndWorker(NamedTuple):
    """Agent -> runner: end the warm worker; calls not started come back, a running one is killed
    after the grace and charged with `code`."""

    grace_s: float = 5.0
    code: str = "evicted"


class Status(NamedTuple):
    """Agent -> runner: send a Hello, without repeating answers."""


class Exit(NamedTuple):
    """Agent -> runner: end the occupant and exit. With `if_idle`, only when nothing is held."""

    grace_s: float = 5.0
    if_idle: bool = False


class HoldLocks(NamedTuple):
    """Agent -> runner: keep these lock descriptors (sent with SCM_RIGHTS) until the occupant is
    proven gone. `names` are GPU UUIDs, in the order of the descriptors."""

    names: list[str]


class Hello(NamedTuple):
    """Runner -> agent: first frame of every connection, a snapshot; answers follow it.

    It speaks everything from `protocol` to `newest`; one of protocol 1 does not say the latter.
    `held` and `unacked` are [task as hex, attempt, started]; `occupant` is "", "command" or
    "worker". Descriptors of the locks it keeps come with the frame, in the order of `locks`.
    """

    protocol: int
    runner: str
    pid: int
    boot_id: str
    occupant: str
    worker: str
    loaded: bool
    held: list[list[object]]
    unacked: list[list[object]]
    locks: list[str]
    cgroup: str
    newest: int = 1


class Started(NamedTuple):
    """Runner -> agent: this attempt has been running for 100 ms; `pid` is its main process."""

    task: bytes
    attempt: int
    pid: int
    started_wall_ns: int


class Finished(NamedTuple):
    """Runner -> agent: a command ended and its tree is proven gone (kept until Ack).

    `how` is exit, timeout, silence, fenced, cancelled, stopped, executable_not_found,
    not_executable, cwd_missing, stdin_missing, spawn_failed, user_refused, disk_full or lost.
    `returncode` is the main process's own code (-N for signal N), None when it never ran or is
    unknown. `out_inline` and `err_inline` hold a stream that fits in 4 KiB, and the end
    of one that the disk did not take.
    `user` is who it ran as, if not the agent's own.
    `memory_evidence`: whose count of out-of-memory kills grew, "cgroup", "host" or "".
    """

    task: bytes
    attempt: int
    how: str
    returncode: int | None
    message: str = ""
    leftovers: int = 0
    out_bytes: int = 0
    err_bytes: int = 0
    out_inline: bytes = b""
    err_inline: bytes = b""
    started_wall_ns: int = 0
    run_ns: int = 0
    cpu_ns: int = 0
    memory_bytes_peak: int = 0
    memory_evidence: str = ""
    user: str = ""


class Loaded(NamedTuple):
    """Worker -> runner -> agent: the worker is ready (its handler's `load()` returned)."""

    worker: str
    pid: int
    load_ns: int


class WorkerEnded(NamedTuple):
    """Runner -> agent: the warm worker and its tree are gone; its calls were answered before.

    `how` is died, start_failed, load_failed, timeout, silence, fenced, cancelled, ended or idle.
    `returncode` -N is signal N. `failure` is filled for load_failed and start_failed (a packed
    `Failure`).
    """

    worker: str
    how: str
    returncode: int | None
    log_tail: str = ""
    leftovers: int = 0
    failure: dict[str, str] = {}  # noqa: RUF012 - a default of a tuple, never changed


class OutputGrew(NamedTuple):
    """Runner -> agent: a hint, at most every 100 ms; bytes are read from files by offset."""

    task: bytes
    attempt: int
    out_bytes: int
    err_bytes: int


class Progress(NamedTuple):
    """Worker or command -> runner -> agent: the last progress said (older ones are dropped)."""

    task: bytes
    attempt: int
    fraction: float
    text: str


class Formed(NamedTuple):
    """Worker -> runner -> agent: these calls, [task as hex, attempt], run as one batch now."""

    rows: list[list[object]]


class Refused(NamedTuple):
    """Runner -> agent: a request was not taken. `code`: busy, full, no_worker, known, stopping,
    malformed. For a batch `seq` says which and nothing of it was taken; for Run the attempt."""

    code: str
    message: str
    seq: int = -1
    task: bytes = b""
    attempt: int = 0


Message = Union[
    Run, Host, Calls, Cancel, Ack, EndWorker, Status, Exit, HoldLocks,
    Attach, CallLimits, Renew, Signal, Stack, Exec,
    Hello, Started, Finished, Results, Loaded, WorkerEnded, OutputGrew, Progress, Refused,
    Answer, Stuck, Formed,
]  # fmt: skip

CALLS = 3
RESULTS = 68
_BY_TYPE: dict[int, type] = {
    1: Run, 2: Host, CALLS: Calls, 4: Cancel, 5: Ack, 6: EndWorker, 7: Status, 8: Exit,
    9: HoldLocks, 10: Attach, 11: CallLimits, 12: Renew, 13: Signal, 14: Stack, 15: Exec,
    65: Hello, 66: Started, 67: Finished, RESULTS: Results, 69: Loaded, 70: WorkerEnded,
    71: OutputGrew, 72: Progress, 73: Refused, 74: Answer, 75: Stuck,
    76: Formed,
}  # fmt: skip
SINCE: dict[type, int] = {
    **dict.fromkeys([Attach, CallLimits, Renew, Signal, Stack, Exec, Answer, Stuck], 2),
    Formed: 4,
}
"""The protocol that brought a message; all others are of the first."""
_TYPE_OF: dict[type, int] = {kind: number for number, kind in _BY_TYPE.items()}
_BLOBS = frozenset(["stdin_blob", "main_source", "out_inline", "err_inline", "out", "err"])

HEADER = struct.Struct("<IB")


def encode(message: Message) -> bytes:
    """Return the whole frame of a message."""
    if isinstance(message, Calls):
        return _frame(CALLS, pack_calls(message))
    if isinstance(message, Results):
        return _frame(RESULTS, pack_results(message.record, message.outcomes))
    fields = {}
    for name, value in message._asdict().items():
        if name == "task":
            fields[name] = value.hex()
        elif name in _BLOBS and value is not None:
            fields[name] = base64.b64encode(value).decode("ascii")
        else:
            fields[name] = value
    return _frame(_TYPE_OF[type(message)], json.dumps(fields).encode())


def decode(kind: int, body: bytes) -> Message:
    """Read one message; raise FrameError for anything that is not one of ours."""
    if kind == CALLS:
        return unpack_calls(body)
    if kind == RESULTS:
        return Results(*unpack_results(body))
    shape = _BY_TYPE.get(kind)
    if shape is None:
        raise FrameError(f"unknown frame type {kind}")
    try:
        fields = json.loads(body)
        known = {name: fields[name] for name in shape._fields if name in fields}  # type: ignore[attr-defined]
        if "task" in known:
            known["task"] = bytes.fromhex(known["task"])
        for name in _BLOBS & known.keys():
            if known[name] is not None:
                known[name] = base64.b64decode(known[name], validate=True)
        message: Message = shape(**known)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise FrameError(f"malformed {shape.__name__} frame: {error}") from error
    return message


def raw_frame(kind: int, body: bytes) -> bytes:
    """Wrap a body that is already packed."""
    return _frame(kind, body)


class Parser:
    """Cut a byte stream into (type, body) pairs."""

    def __init__(self, *, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self._buffer = bytearray()
        self._frame_bytes_max = frame_bytes_max

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Add bytes; return the frames that are complete; raise FrameError on a bad length."""
        buffer = self._buffer
        buffer += data
        frames = []
        at, end = 0, len(buffer)
        while end - at >= HEADER.size:
            length, kind = HEADER.unpack_from(buffer, at)
            if not 1 <= length <= self._frame_bytes_max:
                raise FrameError(f"a frame of {length} bytes (at most {self._frame_bytes_max})")
            if end - at < 4 + length:
                break
            frames.append((kind, bytes(buffer[at + 5 : at + 4 + length])))
            at += 4 + length
        if at:
            del buffer[:at]
        return frames


def _frame(kind: int, body: bytes) -> bytes:
    if len(body) >= FRAME_BYTES_MAX:
        raise FrameError(f"a frame of {len(body)} bytes (at most {FRAME_BYTES_MAX})")
    return HEADER.pack(len(body) + 1, kind) + body
