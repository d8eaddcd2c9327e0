"""How calls and their outcomes travel in batches: structs that the runner routes unread.

Heads of fixed size come first, then the bodies, so that the runner (standard library only) sees
task, attempt, timeout and status without touching arguments or results.
"""

from __future__ import annotations

import json
import struct
from typing import NamedTuple

CALLS_MAX = 1024
"""Most calls in one batch."""

OK = 0
"""The call returned; the body of its outcome is the encoded value."""
FAILED = 1
"""The call was charged and failed; the body is a packed `Failure`."""
RETURNED = 2
"""The call never started and is not charged; the body is a packed `Failure` that says why."""
STORED = 3
"""As OK, and the value names files or a large value, which wait in the attempt's folder."""


class FrameError(ValueError):
    """Bytes are not a frame of ours; the connection that brought them is to be closed."""


class Call(NamedTuple):
    """One call for a warm worker; `args` is `values.encode((args_tuple, kwargs_dict))`.

    `target` is `module:qualname`, `__main__:qualname` (the source in `Host.main_source`), or ""
    for the handler that the worker holds. `timeout_ms` 0 means none.
    """

    task: bytes
    attempt: int
    target: str
    args: bytes
    timeout_ms: int = 0


class Outcome(NamedTuple):
    """How one call ended; `out_bytes` and `err_bytes` count what it printed."""

    task: bytes
    attempt: int
    status: int
    body: bytes
    run_ns: int = 0
    out_bytes: int = 0
    err_bytes: int = 0


class Failure(NamedTuple):
    """Why a call failed or came back.

    `code` is one of exception, out_of_memory, gpu_out_of_memory, disk_full, network,
    result_not_encodable, value_too_large, args_not_decodable, code_missing, model_unavailable,
    output_missing, timeout, silence, fenced, cancelled, worker_died, worker_ended, batch_died,
    batch_ended.
    """

    code: str
    type: str = ""
    message: str = ""
    traceback: str = ""
    log_tail: str = ""


class Calls(NamedTuple):
    """Agent -> runner -> worker: a batch of calls, run in order."""

    seq: int
    calls: list[Call]


class Results(NamedTuple):
    """Worker -> runner -> agent: outcomes of calls. `record` is the runner's, for Ack."""

    record: int
    outcomes: list[Outcome]


_BATCH = struct.Struct("<QH")
_CALL = struct.Struct("<16sIIHI")
_OUTCOME = struct.Struct("<16sIBIQQQ")
KEY_BYTES = 20
"""The first bytes of a call's or outcome's header: task and attempt, a key within a runner."""


def pack_failure(failure: Failure) -> bytes:
    """Pack a failure as the body of an outcome."""
    return json.dumps(failure._asdict()).encode()


def unpack_failure(body: bytes) -> Failure:
    """Read the body of an outcome without a value; raise FrameError when it is not a failure."""
    try:
        fields = json.loads(body)
        return Failure(**{name: str(fields.get(name, "")) for name in Failure._fields})
    except (ValueError, AttributeError, RecursionError) as error:
        raise FrameError(f"malformed failure: {error}") from error


def pack_results(record: int, outcomes: list[Outcome]) -> bytes:
    """Pack the body of a RESULTS frame."""
    heads = [_BATCH.pack(record, len(outcomes))]
    bodies = []
    for task, attempt, status, body, run_ns, out_bytes, err_bytes in outcomes:
        heads.append(_OUTCOME.pack(task, attempt, status, len(body), run_ns, out_bytes, err_bytes))
        bodies.append(body)
    return b"".join(heads + bodies)


def unpack_results(body: bytes) -> tuple[int, list[Outcome]]:
    """Read the body of a RESULTS frame; raise FrameError when it is malformed."""
    try:
        record, number = _BATCH.unpack_from(body)
        at = _BATCH.size + number * _OUTCOME.size
        outcomes = []
        for head in _OUTCOME.iter_unpack(body[_BATCH.size : at]):
            task, attempt, status, length, run_ns, out_bytes, err_bytes = head
            blob = body[at : at + length]
            outcomes.append(Outcome(task, attempt, status, blob, run_ns, out_bytes, err_bytes))
            at += length
    except struct.error as error:
        raise FrameError(f"malformed results: {error}") from error
    if at != len(body) or len(outcomes) != number:
        raise FrameError("malformed results: lengths do not add up")
    return record, outcomes


def results_keys(body: bytes) -> list[bytes]:
    """Return the 20-byte keys of the outcomes in a RESULTS body, without reading the bodies."""
    try:
        number = _BATCH.unpack_from(body)[1]
        heads = body[_BATCH.size : _BATCH.size + number * _OUTCOME.size]
        return [heads[at : at + KEY_BYTES] for at in range(0, len(heads), _OUTCOME.size)]
    except struct.error as error:
        raise FrameError(f"malformed results: {error}") from error


def results_statuses(body: bytes) -> bytes:
    """Return the status of each outcome of a RESULTS body that `results_keys` has accepted."""
    number = _BATCH.unpack_from(body)[1]
    at = _BATCH.size + KEY_BYTES
    return body[at : at + number * _OUTCOME.size : _OUTCOME.size]


def with_record(body: bytes, record: int) -> bytes:
    """Return a RESULTS body under another record number."""
    number = _BATCH.unpack_from(body)[1]
    return _BATCH.pack(record, number) + body[_BATCH.size :]


def calls_heads(body: bytes) -> tuple[int, list[tuple[bytes, int]]]:
    """Return the seq of a CALLS body and (20-byte key, timeout_ms) of each call."""
    try:
        seq, number = _BATCH.unpack_from(body)
        at = _BATCH.size + number * _CALL.size
        heads = []
        start = _BATCH.size
        for _, _, timeout_ms, target_bytes, args_bytes in _CALL.iter_unpack(body[start:at]):
            heads.append((body[start : start + KEY_BYTES], timeout_ms))
            start += _CALL.size
            at += target_bytes + args_bytes
    except struct.error as error:
        raise FrameError(f"malformed calls: {error}") from error
    if at != len(body) or len(heads) != number or number > CALLS_MAX:
        raise FrameError("malformed calls: lengths do not add up")
    return seq, heads


def attempt_key(task: bytes, attempt: int) -> str:
    """Name an attempt in file names and in REMUDA_ATTEMPT."""
    return f"{task.hex()}.{attempt}"


def split_key(key: bytes) -> tuple[bytes, int]:
    """Return (task, attempt) of a 20-byte key."""
    return key[:16], int.from_bytes(key[16:20], "little")


def join_key(task: bytes, attempt: int) -> bytes:
    """Return the 20-byte key of an attempt."""
    return task + attempt.to_bytes(4, "little")


def pack_calls(batch: Calls) -> bytes:
    """Pack the body of a CALLS frame."""
    heads = [_BATCH.pack(batch.seq, len(batch.calls))]
    bodies = []
    for task, attempt, target, args, timeout_ms in batch.calls:
        name = target.encode()
        heads.append(_CALL.pack(task, attempt, timeout_ms, len(name), len(args)))
        bodies.append(name)
        bodies.append(args)
    return b"".join(heads + bodies)


def unpack_calls(body: bytes) -> Calls:
    """Read the body of a CALLS frame; raise FrameError when it is malformed."""
    try:
        seq, number = _BATCH.unpack_from(body)
        at = _BATCH.size + number * _CALL.size
        calls = []
        for head in _CALL.iter_unpack(body[_BATCH.size : at]):
            task, attempt, timeout_ms, target_bytes, args_bytes = head
            target = body[at : at + target_bytes].decode()
            at += target_bytes
            calls.append(Call(task, attempt, target, body[at : at + args_bytes], timeout_ms))
            at += args_bytes
    except (struct.error, UnicodeDecodeError) as error:
        raise FrameError(f"malformed calls: {error}") from error
    if at != len(body) or len(calls) != number or number > CALLS_MAX:
        raise FrameError("malformed calls: lengths do not add up")
    return Calls(seq, calls)
