"""Does every message survive the wire, and does the codec survive every wire?"""

from __future__ import annotations

import dataclasses
import random
import tracemalloc

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from remuda.protocol import codec
from remuda.protocol import messages as m
from remuda.protocol.errors import ForeignProtocol, MalformedFrame, UnknownMessage

from ...fakes.hostile import any_message, documents, messages_of

REFUSALS = (MalformedFrame, UnknownMessage, ForeignProtocol)
KINDS = sorted(m.MESSAGES.values(), key=lambda kind: kind.TYPE)
DECODE_BYTES_MAX = 64 * 1024 * 1024


def frame_of(body: object, kind: int = m.Status.TYPE, version: int = codec.VERSION) -> bytes:
    return msgpack.packb([version, kind, 1, body])


def refused(frame: bytes) -> bool:
    """Tell whether a frame was refused; any other exception than the three passes through."""
    try:
        codec.decode(frame)
    except REFUSALS:
        return True
    return False


def peak_bytes(frame: bytes) -> int:
    """Return the most memory that refusing a frame took."""
    tracemalloc.start()
    try:
        assert refused(frame)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# --- round trips ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_message_comes_back_as_it_was(kind: type[m.Message]) -> None:
    @settings(max_examples=25, derandomize=True, deadline=None)
    @given(messages_of(kind), st.integers(0, codec.INT_MAX))
    def check_round_trip(message: m.Message, epoch: int) -> None:
        assert codec.Frame(epoch, message) == codec.decode(codec.encode(message, epoch))

    check_round_trip()


def test_message_numbers_are_unique_and_never_zero() -> None:
    kinds = m.Message.__subclasses__()
    assert len(kinds) == len(m.MESSAGES)
    assert 0 not in m.MESSAGES


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_columns_name_lists_of_the_message(kind: type[m.Message]) -> None:
    fields = {f.name: str(f.type) for f in dataclasses.fields(kind)}  # type: ignore[arg-type]  # Message has no fields of its own
    assert dict.fromkeys(kind.COLUMNS, True) == {
        name: fields[name].startswith("list[") for name in kind.COLUMNS
    }


@given(documents)
@settings(derandomize=True, deadline=None)
def test_a_document_comes_back_as_it_was(document: dict[str, object]) -> None:
    assert document == codec.unpack_document(codec.pack_document(document))


# --- hostile bytes -------------------------------------------------------------------------


@given(st.binary(max_size=300))
@settings(max_examples=400, derandomize=True, deadline=None)
@example(b"")
@example(b"\xc1")
@example(b"\x94" * 200)
def test_random_bytes_are_refused_as_malformed(blob: bytes) -> None:
    assert refused(blob)


@given(any_message(), st.data())
@settings(max_examples=200, derandomize=True, deadline=None)
def test_a_truncated_frame_is_refused(message: m.Message, data: st.DataObject) -> None:
    frame = codec.encode(message, 7)
    assert refused(frame[: data.draw(st.integers(0, len(frame) - 1))])


@given(any_message(), st.integers(0, 1 << 32))
@settings(max_examples=400, derandomize=True, deadline=None)
def test_a_frame_with_flipped_bytes_is_refused_or_still_a_message(
    message: m.Message, seed: int
) -> None:
    frame = bytearray(codec.encode(message, 7))
    chance = random.Random(seed)
    for _ in range(chance.randint(1, 4)):
        frame[chance.randrange(len(frame))] = chance.randrange(256)
    if not refused(bytes(frame)):
        again = codec.decode(bytes(frame))
        written = codec.encode(again.message, again.epoch)
        twice = codec.decode(written)
        # As bytes: a flipped float in a document can be NaN, which equals nothing.
        assert written == codec.encode(twice.message, twice.epoch)


@given(any_message(), any_message())
@settings(max_examples=50, derandomize=True, deadline=None)
def test_bytes_after_a_frame_are_refused(one: m.Message, other: m.Message) -> None:
    assert refused(codec.encode(one, 7) + codec.encode(other, 7))


DEEP_LIST = b"\x91" * 100_000 + b"\x00"
DEEP_MAP = b"\x81\xa1k" * 100_000 + b"\x00"
HOSTILE = {
    "a deep list": frame_of([])[:-1] + DEEP_LIST,
    "a deep map": b"\x94\x01" + bytes([m.ListTasks.TYPE]) + b"\x01\x93" + DEEP_MAP,
    "a list that claims 4 G items": b"\x94\x01\x0c\x01\xdd\xff\xff\xff\xff",
    "a map that claims 4 G items": b"\x94\x01\x0c\x01\xdf\xff\xff\xff\xff",
    "text that claims 4 GiB": b"\x94\x01\x0c\x01\xdb\xff\xff\xff\xffabc",
    "bytes that claim 4 GiB": b"\x94\x01\x0c\x01\xc6\xff\xff\xff\xffabc",
    "an extension that claims 4 GiB": b"\x94\x01\x0c\x01\xc9\xff\xff\xff\xff\x05abc",
    "a list of lists that all claim much": b"\x94\x01\x0c\x01" + b"\xdc\x4e\x20" * 1_000,
    "a frame over the limit": b"\xc6\x00\x40\x00\x00" + b"\0" * codec.FRAME_BYTES_MAX,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_sizes_are_refused_in_bounded_memory(name: str) -> None:
    assert DECODE_BYTES_MAX > peak_bytes(HOSTILE[name])


def test_the_worst_nest_of_claims_takes_a_bounded_amount_of_memory() -> None:
    longest = b"\xdc" + codec.ARRAY_MAX.to_bytes(2, "big")
    nest = b"\x94\x01\x0c\x01" + longest * 20_000
    nesting_max = 1_024  # what msgpack itself follows
    assert nesting_max * codec.ARRAY_MAX * 8 * 2 > peak_bytes(nest)


def test_a_full_list_of_the_most_items_is_as_large_as_it_gets() -> None:
    items = [0] * codec.ARRAY_MAX
    assert refused(frame_of([*items, 0]))
    cancel = m.Cancel([b"x" * 16] * 20_000, [])
    assert cancel == codec.decode(codec.encode(cancel, 1)).message


LIST_TASKS = m.ListTasks.TYPE
WRONG = {
    "not an array": msgpack.packb({"version": 1}),
    "too few parts": msgpack.packb([1, m.Status.TYPE, 1]),
    "too many parts": msgpack.packb([1, m.Status.TYPE, 1, [], 0]),
    "a version that is text": msgpack.packb(["1", m.Status.TYPE, 1, []]),
    "a version that is a bool": msgpack.packb([True, m.Status.TYPE, 1, []]),
    "a negative epoch": msgpack.packb([1, m.Status.TYPE, -1, []]),
    "an epoch over 63 bits": msgpack.packb([1, m.Status.TYPE, 1 << 63, []]),
    "an epoch that is a float": msgpack.packb([1, m.Status.TYPE, 1.0, []]),
    "a body that is a map": frame_of({}),
    "a field too many": frame_of([0]),
    "a field too few": frame_of([{}, 1], LIST_TASKS),
    "a number over 63 bits": frame_of([{}, 1 << 63, ""], LIST_TASKS),
    "a number under 63 bits": frame_of([{}, -(1 << 63), ""], LIST_TASKS),
    "a number that is a bool": frame_of([{}, True, ""], LIST_TASKS),
    "a number that is a float": frame_of([{}, 1.0, ""], LIST_TASKS),
    "text that is bytes": frame_of([{}, 1, b""], LIST_TASKS),
    "bytes that are text": frame_of(["x" * 16], m.ShowTask.TYPE),
    "text that is not UTF-8": frame_of([{}, 1, b""], LIST_TASKS)[:-2] + b"\xa1\xff",
    "a number over 63 bits in a document": frame_of([{"n": 1 << 63}, 1, ""], LIST_TASKS),
    "a document that is a list": frame_of([[], 1, ""], LIST_TASKS),
    "a document with a number as key": frame_of([{1: 2}, 1, ""], LIST_TASKS),
    "a document with bytes as key": frame_of([{b"k": 2}, 1, ""], LIST_TASKS),
    "a document with a key of bytes inside": frame_of([{"a": {b"k": 2}}, 1, ""], LIST_TASKS),
    "a timestamp in a document": frame_of([{"t": msgpack.Timestamp(1, 0)}, 1, ""], LIST_TASKS),
    "an extension in a document": frame_of([{"t": msgpack.ExtType(5, b"")}, 1, ""], LIST_TASKS),
    "a timestamp as a field": frame_of([msgpack.Timestamp(1, 0)], m.ShowTask.TYPE),
    "columns of different lengths": frame_of([[b"x" * 16], []], m.Accept.TYPE),
    "a column with a wrong item": frame_of([[b"x" * 16], ["1"]], m.Accept.TYPE),
    "a column that is a number": frame_of([0, 0], m.Accept.TYPE),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_the_message_is_malformed(name: str) -> None:
    with pytest.raises(MalformedFrame):
        codec.decode(WRONG[name])


def test_a_document_deeper_than_the_limit_is_refused() -> None:
    deep: dict[str, object] = {}
    for _ in range(codec.DEPTH_MAX):
        deep = {"in": deep}
    frame = frame_of([deep, 1, ""], LIST_TASKS)
    assert deep == codec.decode(frame).message.filters  # type: ignore[attr-defined]  # a ListTasks
    assert refused(frame_of([{"in": deep}, 1, ""], LIST_TASKS))


def test_an_unknown_type_is_told_from_a_malformed_frame() -> None:
    with pytest.raises(UnknownMessage, match="type 126"):
        codec.decode(frame_of([], kind=126))


def test_another_version_is_told_before_anything_else_is_read() -> None:
    with pytest.raises(ForeignProtocol, match=f"protocol {codec.VERSION + 1}"):
        codec.decode(frame_of({"new": "shape"}, kind=126, version=codec.VERSION + 1))
    with pytest.raises(ForeignProtocol, match="protocol 0"):
        codec.decode(frame_of({"old": "shape"}, kind=126, version=0))


# --- a rolling upgrade ---------------------------------------------------------------------

WELCOME = m.Registered(
    "n1", 7, 1, 2, 3, 4, 2_000, 30_000, [b"t" * 16], [1], fence_ms=45_000, store_port=7
)


def test_a_field_that_the_version_before_does_not_know_is_left_out_for_it() -> None:
    frame = codec.encode(WELCOME, 1, version=1)
    assert [1, m.Registered.TYPE, 1] == msgpack.unpackb(frame)[:3]
    assert codec.Frame(
        1, dataclasses.replace(WELCOME, fence_ms=0, store_port=0), 1
    ) == codec.decode(frame)
    assert codec.Frame(1, WELCOME, codec.VERSION) == codec.decode(codec.encode(WELCOME, 1))


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_a_body_with_the_fields_of_another_version_is_malformed(version: int) -> None:
    _, kind, epoch, body = msgpack.unpackb(codec.encode(WELCOME, 1, version))
    with pytest.raises(MalformedFrame, match="fields"):
        codec.decode(msgpack.packb([version % 4 + 1, kind, epoch, body]))


def test_a_message_that_the_version_before_does_not_know_is_not_said_to_it() -> None:
    drain = m.Drain("n1", "new fans", 0)
    with pytest.raises(ValueError, match="protocol 1 has no Drain"):
        codec.encode(drain, 1, version=1)
    with pytest.raises(UnknownMessage):
        codec.decode(frame_of(["n1", "new fans", 0], kind=m.Drain.TYPE, version=1))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_added_fields_come_last_have_defaults_and_are_no_columns(kind: type[m.Message]) -> None:
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]  # Message has no fields of its own
    late = [f for f in fields if f.name in kind.ADDED]
    assert late == list(fields[len(fields) - len(late) :])
    assert set() == kind.ADDED.keys() & set(kind.COLUMNS)
    missing = dataclasses.MISSING
    assert all(f.default is not missing or f.default_factory is not missing for f in late)


@pytest.mark.parametrize(
    ("lowest", "highest", "common"),
    [(1, 1, 1), (1, 2, 2), (2, 2, 2), (1, 3, 3), (1, codec.VERSION + 4, codec.VERSION)],
)
def test_two_sides_speak_the_newest_version_that_both_know(lowest, highest, common) -> None:
    assert common == codec.common_version(lowest, highest)


@pytest.mark.parametrize(
    ("lowest", "highest"), [(codec.VERSION + 1, codec.VERSION + 4), (0, 0), (2, 1)]
)
def test_sides_without_a_common_version_are_told_to_upgrade(lowest: int, highest: int) -> None:
    with pytest.raises(ForeignProtocol, match="upgrade the older one"):
        codec.common_version(lowest, highest)


@pytest.mark.parametrize("blob", [b"", b"\x90", b"\x81\x01\x01", b"\xc0", b"\x81\xa1t" + b"\xc7"])
def test_a_document_that_is_none_is_malformed(blob: bytes) -> None:
    with pytest.raises(MalformedFrame):
        codec.unpack_document(blob)


def test_an_oversize_document_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(MalformedFrame, match="exceeds"):
        codec.unpack_document(b"\x81" + b"\0" * codec.FRAME_BYTES_MAX)


# --- what we send ----------------------------------------------------------------------------


def test_a_frame_over_the_limit_is_not_sent() -> None:
    too_large = m.Done("x" * codec.FRAME_BYTES_MAX)
    with pytest.raises(ValueError, match="exceeds"):
        codec.encode(too_large, 1)


def test_a_frame_at_the_limit_arrives() -> None:
    envelope = len(codec.encode(m.Done("x" * 70_000), 1)) - 70_000
    message = m.Done("x" * (codec.FRAME_BYTES_MAX - envelope))
    frame = codec.encode(message, 1)
    assert codec.FRAME_BYTES_MAX == len(frame)
    assert message == codec.decode(frame).message
