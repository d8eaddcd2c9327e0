"""How did a task end: what is known of it, its value, or the error to raise?"""

from __future__ import annotations

import concurrent.futures
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..protocol import codec
from ..protocol.errors import MalformedFrame, RemudaError, ResultExpired, TaskFailed
from ..worker import values

UNKNOWN = "not_found"
ENDED = frozenset({"succeeded", "failed", "cancelled", UNKNOWN})
OUT_OF_TIME = frozenset({"timeout", "silence", "start_timeout", "deadline", "expired"})
LOG_TAIL_CHARS = 4096
EXIT_RAISED = 1
RAISED_CODES = frozenset(
    {"exception", "network", "disk_full", "out_of_memory", "gpu_out_of_memory"}
)
"""What a function that raised fails with: the kind of its exception."""
EXIT_TIMED_OUT = 124
EXIT_OURS = 125
EXIT_SIGNAL = 128


class TaskCancelled(RemudaError, concurrent.futures.CancelledError):  # noqa: N818 - an outcome
    """A task was cancelled; nothing of it runs any more."""

    code = "cancelled"


class Standing(NamedTuple):
    """Where a task stands, as the scheduler said it last; `details` is an encoded document."""

    task: bytes
    state: str
    code: str = ""
    attempt: int = 0
    node: str = ""
    value: bytes = b""
    details: bytes = b""

    @property
    def has_ended(self) -> bool:
        """Tell whether this will not change any more."""
        return self.state in ENDED

    @property
    def detail(self) -> dict[str, Any]:
        """Return what is told of the end: code, message, exit_code, output and so on."""
        if not self.details:
            return {}
        try:
            return codec.unpack_document(self.details)
        except MalformedFrame:
            return {}


@dataclass(frozen=True, slots=True)
class CompletedTask:
    """A command that ended: like `subprocess.CompletedProcess`, with the id of its task."""

    task_id: str
    returncode: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """Return what it printed: stdout, then stderr."""
        return self.stdout + self.stderr


def value_of(standing: Standing, task_id: str, objects: values.Objects | None = None) -> object:
    """Return what a task that ended gives: a function's value, or a command's CompletedTask.

    `objects` are those that the value may name. Raises TaskFailed, TaskCancelled or NotFound.
    """
    if standing.state != "succeeded":
        raise error_of(standing, task_id)
    if not standing.value:
        return completed(standing, task_id)
    try:
        return values.decode(standing.value, objects)
    except values.NotDecodable as error:
        failure = RemudaError(f"task {task_id}: its result cannot be decoded here: {error}")
        failure.code = "result_not_decodable"
        raise failure from error


def error_of(standing: Standing, task_id: str) -> RemudaError:
    """Make the error that an end without success raises."""
    if standing.state == UNKNOWN:
        return ResultExpired(
            f"task {task_id} is not known any more: it ended and its result has expired"
        )
    if standing.state == "cancelled":
        return TaskCancelled(f"task {task_id} was cancelled")
    return _failure(standing, task_id)


def completed(standing: Standing, task_id: str) -> CompletedTask:
    """Describe the end of a command; output is what travels with the result (head and tail)."""
    detail = standing.detail
    return CompletedTask(
        task_id,
        returncode=_returncode(detail, standing),
        stdout=kept_output(detail, "out"),
        stderr=kept_output(detail, "err"),
    )


def exit_code(standing: Standing) -> int:
    """Return what `run` and `call` exit with: the command's own code, 128+N, 124 or 125.

    1 for a function that raised, as an interpreter does.
    """
    detail = standing.detail
    code = standing.code or str(detail.get("code", ""))
    if standing.state == "succeeded":
        return int(detail.get("exit_code") or 0)
    if code in OUT_OF_TIME:
        return EXIT_TIMED_OUT
    if detail.get("signal"):
        return EXIT_SIGNAL + int(detail["signal"])
    if code in RAISED_CODES and detail.get("exit_code") is None:
        return EXIT_RAISED
    return int(detail.get("exit_code") or EXIT_OURS)


def kept_output(detail: dict[str, Any], stream: str) -> str:
    """Return the kept output of a stream, with a line that says what was cut."""
    head, tail = _bytes(detail.get(stream)), _bytes(detail.get(f"{stream}_tail"))
    cut = output_cut(detail, stream)
    mark = f"\n[... {cut} bytes cut ...]\n".encode() if cut else b""
    return (head + mark + tail).decode("utf-8", "replace")


def output_cut(detail: dict[str, Any], stream: str) -> int:
    """Count the bytes of a stream that did not travel with the result."""
    kept = len(_bytes(detail.get(stream))) + len(_bytes(detail.get(f"{stream}_tail")))
    return max(0, int(detail.get(f"{stream}_bytes") or 0) - kept)


def _returncode(detail: dict[str, Any], standing: Standing) -> int:
    if detail.get("signal"):
        return -int(detail["signal"])
    if detail.get("exit_code") is not None:
        return int(detail["exit_code"])
    return 0 if standing.state == "succeeded" else EXIT_OURS


def _failure(standing: Standing, task_id: str) -> TaskFailed:
    detail = standing.detail
    code = standing.code or str(detail.get("code", "")) or "failed"
    said = str(detail.get("message") or "").strip()
    if not said and detail.get("exit_code") is not None:
        said = f"exit code {detail['exit_code']}"
    where = f" on {standing.node}" if standing.node else ""
    tries = f", attempt {standing.attempt}" if standing.attempt > 1 else ""
    traceback = str(detail.get("traceback") or "")
    log_tail = _log_tail(detail)
    is_command = "exit_code" in detail or "signal" in detail
    error = TaskFailed(
        f"task {task_id} failed{where}{tries}: {code}" + (f": {said}" if said else ""),
        task_id=task_id,
        task_code=code,
        node=standing.node,
        attempt=standing.attempt,
        log_tail=log_tail,
        traceback=traceback,
        returncode=_returncode(detail, standing) if is_command else None,
    )
    for note in (traceback, log_tail):
        if note:
            error.add_note(note.rstrip())
    return error


def _log_tail(detail: dict[str, Any]) -> str:
    """Return the last that it said, on stderr if it used it."""
    for keys in (("log_tail",), ("err", "err_tail"), ("out", "out_tail")):
        text = b"".join(_bytes(detail.get(key)) for key in keys).decode("utf-8", "replace")
        if text.strip():
            return text[-LOG_TAIL_CHARS:]
    return ""


def _bytes(found: object) -> bytes:
    if isinstance(found, str):
        return found.encode()
    return found if isinstance(found, bytes) else b""
