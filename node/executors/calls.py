"""How does a call end: the worker's outcome as the result of an attempt."""

from __future__ import annotations

from pathlib import Path

from ...protocol import codec
from ...protocol.messages import Outcome as Result
from ...worker import frames
from ...worker.frames import Outcome
from ..task import Ending
from .command import printed

MESSAGE_CHARS_MAX = 4_000
TRACEBACK_CHARS_MAX = 32_000


def call_ending(answer: Outcome, directory: Path, edge_bytes: int) -> Ending:
    """Read one outcome; what was printed is added only if something was."""
    details: dict[str, object] = {}
    if answer.out_bytes:
        details |= printed(directory, answer.task, answer.attempt, "out", edge_bytes)
    if answer.err_bytes:
        details |= printed(directory, answer.task, answer.attempt, "err", edge_bytes)
    run_us = answer.run_ns // 1000
    sizes = (answer.out_bytes, answer.err_bytes)
    if answer.status in (frames.OK, frames.STORED):
        return Ending(
            answer.task,
            answer.attempt,
            Result.SUCCEEDED,
            answer.body,
            codec.pack_document(details) if details else b"",
            run_us=run_us,
            returns_objects=answer.status == frames.STORED,
            printed=sum(sizes),
        )
    try:
        failure = frames.unpack_failure(answer.body)
    except frames.FrameError as error:
        failure = frames.Failure("exception", "", f"the worker's word cannot be read: {error}")
    message = f"{failure.type}: {failure.message}" if failure.type else failure.message
    details |= {"code": failure.code, "message": message[:MESSAGE_CHARS_MAX]}
    if failure.traceback:
        details["traceback"] = failure.traceback[-TRACEBACK_CHARS_MAX:]
    if failure.log_tail and not answer.err_bytes:
        tail = failure.log_tail.encode()
        details |= {"err": tail, "err_tail": b"", "err_bytes": len(tail)}
    outcome = Result.FAILED if answer.status == frames.FAILED else Result.RETURNED
    blob = codec.pack_document(details)
    return Ending(
        answer.task,
        answer.attempt,
        outcome,
        details=blob,
        run_us=run_us,
        code=failure.code,
        printed=sum(sizes),
        is_cut=max(sizes) > 2 * edge_bytes,
    )
