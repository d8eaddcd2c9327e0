"""Does neither side of a transfer get further ahead than it may?"""

import pytest

from remuda.protocol.errors import Invalid
from remuda.protocol.store_messages import CHUNK_BYTES, PIECE_BYTES_MAX
from remuda.store.credits import ACTIVE_BYTES, WINDOW_BYTES, Incoming, Outgoing, window_bytes


def test_what_is_on_the_way_is_divided_among_the_active() -> None:
    assert WINDOW_BYTES == window_bytes(1)
    assert ACTIVE_BYTES // 8 == window_bytes(8)
    assert CHUNK_BYTES == window_bytes(1_000)


def test_an_upload_is_asked_for_a_window_and_then_for_half_windows() -> None:
    incoming = Incoming(10 * WINDOW_BYTES)
    assert incoming.extend(WINDOW_BYTES)
    assert WINDOW_BYTES == incoming.upto
    incoming.take(0, CHUNK_BYTES)
    incoming.written = CHUNK_BYTES
    assert not incoming.extend(WINDOW_BYTES)
    incoming.written = WINDOW_BYTES // 2
    assert incoming.extend(WINDOW_BYTES)
    assert WINDOW_BYTES * 3 // 2 == incoming.upto


def test_credit_that_was_given_is_never_taken_back() -> None:
    incoming = Incoming(10 * WINDOW_BYTES)
    incoming.extend(WINDOW_BYTES)
    assert not incoming.extend(CHUNK_BYTES)
    assert WINDOW_BYTES == incoming.upto


def test_the_last_bytes_are_asked_for_however_few_they_are() -> None:
    incoming = Incoming(WINDOW_BYTES + 1)
    incoming.extend(WINDOW_BYTES)
    incoming.written = 1
    assert incoming.extend(WINDOW_BYTES)
    assert WINDOW_BYTES + 1 == incoming.upto


@pytest.mark.parametrize(
    ("offset", "count", "words"),
    [
        (1, 10, "the next is 0"),
        (0, 0, "a piece has"),
        (0, PIECE_BYTES_MAX + 1, "a piece has"),
        (0, 101, "asked for were 100"),
    ],
)
def test_a_chunk_that_was_not_asked_for_is_refused(offset: int, count: int, words: str) -> None:
    incoming = Incoming(1_000, upto=100)
    with pytest.raises(Invalid, match=words):
        incoming.take(offset, count)


def test_a_reading_sends_what_was_asked_for_but_no_more_than_its_share() -> None:
    out = Outgoing.begin(10 * WINDOW_BYTES, 0, WINDOW_BYTES)
    assert CHUNK_BYTES == out.sendable(CHUNK_BYTES)
    out.sent = CHUNK_BYTES
    assert 0 == out.sendable(CHUNK_BYTES)
    out.credit(WINDOW_BYTES + CHUNK_BYTES)
    assert CHUNK_BYTES == out.sendable(CHUNK_BYTES)


def test_a_reading_is_over_when_its_last_byte_was_taken() -> None:
    out = Outgoing.begin(100, 40, 40 + WINDOW_BYTES)
    out.sent = 100
    assert (0, False) == (out.sendable(WINDOW_BYTES), out.is_over)
    out.credit(100 + WINDOW_BYTES)
    assert out.is_over


@pytest.mark.parametrize(("offset", "upto"), [(-1, 10), (101, 200), (50, 50), (50, 40)])
def test_a_reading_of_what_is_not_there_is_refused(offset: int, upto: int) -> None:
    with pytest.raises(Invalid):
        Outgoing.begin(100, offset, upto)


@pytest.mark.parametrize("upto", [99, 111])
def test_credit_for_what_was_not_sent_is_refused(upto: int) -> None:
    out = Outgoing.begin(1_000, 0, 100)
    out.sent = 10
    with pytest.raises(Invalid):
        out.credit(upto)
