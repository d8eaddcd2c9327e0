"""Are ids ordered by time, unambiguous as text, and members of their batch?"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remuda.protocol import ids

any_id = st.integers(0, (1 << 128) - 1)
times = st.integers(0, (1 << 48) - 1)
chances = st.integers(0, (1 << 80) - 1)
ID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


@given(any_id)
@settings(derandomize=True)
def test_an_id_comes_back_from_text_and_from_bytes(task: int) -> None:
    assert task == ids.parse_id(ids.format_id(task))
    assert task == ids.parse_id(ids.format_id(task).lower())
    assert task == ids.from_bytes(ids.to_bytes(task))


@given(any_id, any_id)
@settings(derandomize=True)
def test_text_and_bytes_sort_as_the_numbers_do(one: int, other: int) -> None:
    assert (one < other) == (ids.format_id(one) < ids.format_id(other))
    assert (one < other) == (ids.to_bytes(one) < ids.to_bytes(other))


@given(times, times, chances, chances)
@settings(derandomize=True)
def test_a_later_id_is_a_larger_one(early: int, late: int, one: int, other: int) -> None:
    if early < late:
        assert ids.new_id(early, one) < ids.new_id(late, other)
    assert early == ids.wall_ms_of(ids.new_id(early, one))


@given(st.integers(0, (1 << 128) - 1 - ids.BATCH_MEMBERS_MAX), st.integers(0, 999_999_999))
@settings(derandomize=True)
def test_a_member_is_written_as_its_batch_and_index(batch: int, index: int) -> None:
    member = ids.member(batch, index)
    if not batch:
        return  # 0 means "no batch"
    text = ids.format_id(member, batch)
    assert f"{ids.format_id(batch)}.{index}" == text
    assert member == ids.parse_id(text)


def test_a_known_ulid_reads_as_its_published_value() -> None:
    assert 0x01563E3AB5D3D6764C61EFB99302BD5B == ids.parse_id(ID)
    assert 1469922850259 == ids.wall_ms_of(ids.parse_id(ID))


@pytest.mark.parametrize(
    "text",
    ["", "last", ID[:-1], ID + "0", "8" + ID[1:], ID[:-1] + "U", ID + ".", ID + ".-1", ID + ".1.2",
     ID + ".1234567890", " " + ID, ID + "\n", ID[:-1] + "\u0660"],
)  # fmt: skip
def test_what_is_no_id_is_refused_and_named(text: str) -> None:
    with pytest.raises(ValueError, match="is not an id"):
        ids.parse_id(text)


@pytest.mark.parametrize("blob", [b"", b"x" * 15, b"x" * 17])
def test_bytes_of_another_length_are_no_id(blob: bytes) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        ids.from_bytes(blob)


@pytest.mark.parametrize("text", [ID + ".\u0661", ID + ".\uff11"])
def test_an_index_in_other_digits_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an id"):
        ids.parse_id(text)


def test_the_largest_batch_has_no_member_beyond_128_bits() -> None:
    with pytest.raises(ValueError, match="is not an id"):
        ids.parse_id("7" + "Z" * 25 + ".0")
