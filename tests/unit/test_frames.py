"""Do frames between agent, runner and worker survive the trip, and garbage do no harm?"""

from __future__ import annotations

import contextlib
import struct
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.worker import batches, frames
from remuda.worker.frames import Call, Calls, FrameError, Outcome, Parser, Results

TASKS = st.binary(min_size=16, max_size=16)
ATTEMPTS = st.integers(0, 2**32 - 1)
CALLS = st.builds(
    Call, TASKS, ATTEMPTS, st.text(max_size=40), st.binary(max_size=80), st.integers(0, 2**32 - 1)
)
U64 = st.integers(0, 2**64 - 1)
OUTCOMES = st.builds(
    Outcome, TASKS, ATTEMPTS, st.integers(0, 2), st.binary(max_size=80), U64, U64, U64
)
EXAMPLES: list[frames.Message] = [
    frames.Run(b"t" * 16, 3, ["a", "\udcff"], {"K": "v"}, stdin_blob=b"\0\xff", timeout_s=1.5),
    frames.Host("w", "/python", {}, sys_path=["/x"], main_name="s.py", main_source=b"\xc3\xa9"),
    frames.Cancel(b"t" * 16, 1, 0.5),
    frames.Ack([1, 2], [["00" * 16, 1]]),
    frames.EndWorker(1.0, "evicted"),
    frames.Status(),
    frames.Exit(if_idle=True),
    frames.HoldLocks(["GPU-1"]),
    frames.Hello(1, "r", 2, "b", "worker", "w", True, [["00" * 16, 1, False]], [], ["GPU"], ""),
    frames.Started(b"t" * 16, 1, 5, 6),
    frames.Finished(b"t" * 16, 1, "exit", -9, out_inline=b"\xff", memory_bytes_peak=2**40),
    frames.Loaded("w", 1, 2),
    frames.WorkerEnded("w", "died", None, failure={"code": "x"}),
    frames.OutputGrew(b"t" * 16, 1, 5, 0),
    frames.Progress(b"t" * 16, 1, 0.5, "half"),
    frames.Refused("full", "no", seq=4),
    frames.Attach(2, 60.0),
    frames.CallLimits([["00" * 16, 1, 500, 2**60]]),
    frames.Renew(2**60),
    frames.Signal(2**50, b"t" * 16, 1, 10),
    frames.Stack(2**50, b"t" * 16, 1),
    frames.Exec(2**50, b"t" * 16, 1, ["nvidia-smi"], "/tmp", 3.0),
    frames.Answer(2**50, "timeout", "why", -9, b"\0\xff", b"err", 2**40, 3),
    frames.Formed([["00" * 16, 1], ["ff" * 16, 7]]),
    frames.Stuck(b"", 0, "w", 61.5, [[7, "D", "python"]]),
    Calls(7, [Call(b"t" * 16, 1, "m:f", b"")]),
    Results(9, []),
]


def assert_harmless(kind: int, body: bytes) -> None:
    """Fail, with what was raised, unless the bytes are frames of ours or one typed error."""
    for read in (batches.calls_heads, batches.results_keys, batches.unpack_failure):
        with contextlib.suppress(FrameError):
            read(body)
    with contextlib.suppress(FrameError):
        frames.decode(kind, body)


def decoded(frame: bytes) -> frames.Message:
    ((kind, body),) = Parser().feed(frame)
    return frames.decode(kind, body)


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_every_message_survives_the_trip(message: frames.Message) -> None:
    assert message == decoded(frames.encode(message))


def test_the_examples_cover_every_message() -> None:
    assert set(typing.get_args(frames.Message)) == {type(message) for message in EXAMPLES}


@given(U64, st.lists(CALLS, max_size=20))
def test_batches_of_calls_survive_the_trip(seq: int, calls: list[Call]) -> None:
    message = Calls(seq, calls)
    assert message == decoded(frames.encode(message))
    heads = [(frames.join_key(call.task, call.attempt), call.timeout_ms) for call in calls]
    assert (seq, heads) == batches.calls_heads(batches.pack_calls(message))


@given(U64, st.lists(OUTCOMES, max_size=20))
def test_results_survive_the_trip_and_are_routed_unread(
    record: int, outcomes: list[Outcome]
) -> None:
    assert Results(record, outcomes) == decoded(frames.encode(Results(record, outcomes)))
    body = batches.pack_results(0, outcomes)
    keys = [frames.join_key(one.task, one.attempt) for one in outcomes]
    assert keys == batches.results_keys(body)
    assert (record, outcomes) == batches.unpack_results(batches.with_record(body, record))


@given(TASKS, ATTEMPTS)
def test_a_key_gives_back_its_attempt(task: bytes, attempt: int) -> None:
    assert (task, attempt) == frames.split_key(frames.join_key(task, attempt))


@given(st.lists(st.sampled_from(EXAMPLES), max_size=6), st.integers(1, 50))
def test_a_stream_may_be_cut_anywhere(messages: list[frames.Message], step: int) -> None:
    stream = b"".join(frames.encode(message) for message in messages)
    parser = Parser()
    found = []
    for at in range(0, len(stream), step):
        found += [frames.decode(*frame) for frame in parser.feed(stream[at : at + step])]
    assert messages == found


@given(st.integers(0, 255), st.binary(max_size=200))
def test_garbage_is_one_typed_error_only(kind: int, body: bytes) -> None:
    assert_harmless(kind, body)


@given(st.sampled_from(EXAMPLES), st.integers(0, 10_000), st.integers(0, 255))
def test_a_damaged_frame_is_one_typed_error_only(
    message: frames.Message, at: int, byte: int
) -> None:
    frame = bytearray(frames.encode(message))
    body_at = 5 + at % max(1, len(frame) - 5)
    if body_at < len(frame):
        frame[body_at] = byte
    assert_harmless(frame[4], bytes(frame[5:]))


@pytest.mark.parametrize("length", [0, frames.FRAME_BYTES_MAX + 1, 2**32 - 1])
def test_a_length_beyond_the_bound_is_refused_before_its_bytes_come(length: int) -> None:
    with pytest.raises(FrameError, match="bytes"):
        Parser().feed(struct.pack("<IB", length, 1))


def test_a_batch_that_claims_more_calls_than_allowed_is_refused() -> None:
    calls = [Call(b"t" * 16, 1, "", b"")] * (frames.CALLS_MAX + 1)
    with pytest.raises(FrameError):
        batches.unpack_calls(batches.pack_calls(Calls(1, calls)))


def test_a_field_of_a_newer_version_is_ignored() -> None:
    body = b'{"grace_s": 2.0, "code": "evicted", "new_field": 1}'
    assert frames.EndWorker(2.0, "evicted") == frames.decode(6, body)


@given(st.text(max_size=50), st.text(max_size=50))
def test_a_failure_survives_the_trip(code: str, message: str) -> None:
    failure = frames.Failure(code, message=message)
    assert failure == frames.unpack_failure(frames.pack_failure(failure))
