"""Does every record come out of the mirror's pipe as it went in, however the pipe cuts it?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.scheduler.mirror_frames import (
    FRAME_BYTES_MAX,
    ROWS_PER_FRAME,
    BrokenStream,
    TaskRow,
    Tasks,
    Unpacker,
    pack,
    pack_tasks,
)

FIELDS = st.lists(st.integers(0, 1 << 40) | st.text(max_size=30) | st.binary(max_size=30))


def row(number: int) -> TaskRow:
    return TaskRow(number.to_bytes(16, "big"), "queued", "", 0, "", 0)


@given(st.lists(FIELDS, max_size=8), st.lists(st.integers(1, 50), min_size=1))
def test_frames_come_out_whole_and_in_order(frames: list[list[object]], cuts: list[int]) -> None:
    stream = b"".join(pack("kind", *fields) for fields in frames)
    unpacker, found, at = Unpacker(), [], 0
    while at < len(stream):
        step = cuts[at % len(cuts)]
        found += unpacker.feed(stream[at : at + step])
        at += step
    assert [["kind", *fields] for fields in frames] == found


@given(st.binary(max_size=200))
def test_garbage_breaks_the_stream_and_nothing_else(garbage: bytes) -> None:
    try:
        found = list(Unpacker().feed(garbage))
    except BrokenStream:
        return
    assert all(isinstance(frame[0], str) for frame in found)


def test_a_length_beyond_the_limit_breaks_the_stream() -> None:
    with pytest.raises(BrokenStream):
        list(Unpacker().feed((FRAME_BYTES_MAX + 1).to_bytes(4, "big")))


def told(count: int, *, news: bool) -> list[Tasks]:
    unpacker = Unpacker()
    frames = pack_tasks(7, 9, [row(n) for n in range(count)], news=news)
    return [Tasks(*fields) for chunk in frames for _, *fields in unpacker.feed(chunk)]


def test_only_the_last_frame_of_a_turn_says_that_the_turn_is_whole() -> None:
    frames = told(2 * ROWS_PER_FRAME + 1, news=True)
    assert [False, False, True] == [frame.whole for frame in frames]
    assert 2 * ROWS_PER_FRAME + 1 == sum(len(frame.rows) for frame in frames)


def test_a_turn_without_rows_still_tells_its_revision() -> None:
    assert [(7, True, [])] == [(each.rev, each.whole, each.rows) for each in told(0, news=True)]


def test_a_page_never_makes_a_turn_whole() -> None:
    assert [False] == [frame.whole for frame in told(3, news=False)]


def test_the_largest_frame_of_rows_fits_the_limit() -> None:
    longest = TaskRow(b"x" * 16, "succeeded", "c" * 64, 1 << 31, "n" * 64, 1 << 41)
    (frame,) = pack_tasks(1 << 40, 1 << 41, [longest] * ROWS_PER_FRAME, news=True)
    assert len(frame) <= FRAME_BYTES_MAX
