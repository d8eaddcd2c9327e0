"""Do values of any size, and files, come back as they were, from objects that anybody may forge?"""

from __future__ import annotations

import contextlib
import hashlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.worker import large, values
from remuda.worker.files import File, Row
from remuda.worker.large import Parcel
from remuda.worker.values import NotDecodable, NotEncodable

LARGE = 70_000


class Shelf:
    """The objects that parcels name, by digest."""

    def __init__(self) -> None:
        self.blobs: dict[bytes, bytes] = {}
        self.taken: list[File] = []

    def take(self, file: File) -> Row:
        self.taken.append(file)
        return Row(file.name, hashlib.sha256(file.name.encode()).digest(), 3, "file")

    def keep(self, parcel: Parcel) -> bytes:
        for stored in parcel.stored:
            blob = b"".join(stored.pieces)
            assert stored.size == len(blob)
            assert stored.digest == hashlib.sha256(blob).digest()
            self.blobs[stored.digest] = blob
        return parcel.body

    def value(self, digest: bytes, size: int) -> memoryview:
        if digest not in self.blobs:
            raise ValueError("not here")
        assert size == len(self.blobs[digest])
        return memoryview(bytearray(self.blobs[digest]))

    def file(self, row: Row) -> File:
        return File.received(row, path=f"/somewhere/{row.name}")


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def travelled(shelf: Shelf, value: Any) -> Any:
    body = shelf.keep(values.pack(value, shelf.take))
    assert len(body) <= values.VALUE_BYTES_MAX
    return values.decode(body, shelf)


@pytest.mark.parametrize(
    "value",
    [
        b"x" * LARGE,
        "x" * LARGE,
        list(range(LARGE)),
        {"a": (b"y" * LARGE, {1: [b"z" * LARGE]}), "b": {1, 2}},
        [b"x" * (large.BUFFER_BYTES_MIN + extra) for extra in (-1, 0, 1, 63, 64, 65)],
    ],
    ids=["bytes", "text", "many", "inside", "sizes"],
)
def test_a_large_value_comes_back_from_one_object(shelf: Shelf, value: Any) -> None:
    assert value == travelled(shelf, value)
    assert 1 == len(shelf.blobs)


def test_a_small_value_needs_no_object(shelf: Shelf) -> None:
    assert (1, "two", [b"3"]) == travelled(shelf, (1, "two", [b"3"]))
    assert {} == shelf.blobs


@pytest.mark.parametrize(
    "array",
    [
        np.arange(LARGE, dtype="f8"),
        np.arange(LARGE, dtype=">i4").reshape(7, -1),
        np.asfortranarray(np.arange(LARGE, dtype="u2").reshape(10, -1)),
        np.arange(2 * LARGE)[::2],
        np.arange(LARGE).astype("M8[s]"),
        np.array(["a", "bc"] * LARGE),
    ],
    ids=["plain", "swapped", "fortran", "strided", "dates", "text"],
)
def test_a_large_array_comes_back_writable_and_like_it_was(shelf: Shelf, array: Any) -> None:
    found = travelled(shelf, {"array": array})["array"]
    assert array.dtype == found.dtype
    assert np.array_equal(array, found)
    assert found.flags.writeable


def test_an_array_is_a_view_of_what_was_read(shelf: Shelf) -> None:
    body = shelf.keep(values.pack(np.zeros(LARGE), shelf.take))
    (blob,) = shelf.blobs.values()
    held = memoryview(bytearray(blob))
    shelf.value = lambda digest, size: held  # type: ignore[method-assign]
    found = values.decode(body, shelf)
    found[-1] = 1.0
    assert 1.0 == np.frombuffer(held[-8:])[0]


def test_an_array_is_laid_out_without_a_copy() -> None:
    array = np.zeros(LARGE)
    (stored,) = values.pack(array, Shelf().take).stored
    assert array.ctypes.data in [
        np.frombuffer(piece, np.uint8).ctypes.data for piece in stored.pieces if len(piece)
    ]


def test_large_memory_that_is_not_bytes_arrives_as_bytes(shelf: Shelf) -> None:
    blob = bytes(range(256)) * 300
    assert [blob, blob] == travelled(shelf, [bytearray(blob), memoryview(blob).cast("I")])


def test_a_large_argument_is_one_object_for_all_calls_that_have_it(shelf: Shelf) -> None:
    model = b"m" * LARGE
    bodies = [
        shelf.keep(values.pack_call((model, index), {"more": [index]}, shelf.take))
        for index in range(3)
    ]
    assert 1 == len(shelf.blobs)
    assert [([model, index], {"more": [index]}) for index in range(3)] == [
        values.decode_call(body, shelf) for body in bodies
    ]


def test_many_small_arguments_that_are_large_together_are_one_object(shelf: Shelf) -> None:
    args = tuple("x" * 1000 + str(number) for number in range(100))
    body = shelf.keep(values.pack_call(args, {}, shelf.take))
    assert (list(args), {}) == values.decode_call(body, shelf)
    assert 1 == len(shelf.blobs)


def test_more_large_arguments_than_a_message_can_name_are_named_by_an_object(shelf: Shelf) -> None:
    args = [str(number) * LARGE for number in range(2000)]
    parcel = values.pack_call(tuple(args), {}, shelf.take)
    assert (args, {}) == values.decode_call(shelf.keep(parcel), shelf)
    assert len(parcel.body) <= values.VALUE_BYTES_MAX


def test_a_file_travels_by_name_and_its_path_is_the_other_sides(shelf: Shelf) -> None:
    body = shelf.keep(values.pack_call((File("/here/in.png"),), {"mask": File("m")}, shelf.take))
    (found,), kwargs = values.decode_call(body, shelf)
    assert "/somewhere/in.png" == found.path
    assert ("m", 3) == (kwargs["mask"].name, kwargs["mask"].size)


def test_without_a_store_a_file_does_not_travel() -> None:
    with pytest.raises(NotEncodable, match="only to a task and from it"):
        values.encode([File("in.png")])


def test_a_part_that_does_not_travel_is_named_beside_a_file(shelf: Shelf) -> None:
    with pytest.raises(NotEncodable, match=r"the value\[1\] is an object"):
        values.pack([File("in.png"), object(), b"x" * LARGE], shelf.take)


def test_an_object_that_is_not_there_is_an_error_of_the_value(shelf: Shelf) -> None:
    body = values.pack(b"x" * LARGE, shelf.take).body
    with pytest.raises(NotDecodable, match="not here"):
        values.decode(body, shelf)
    with pytest.raises(NotDecodable, match="out of reach"):
        values.decode(body)


def test_objects_that_name_each_other_end(shelf: Shelf) -> None:
    stored = large.lay_out(b"\xc0", [])
    for _ in range(4):
        shelf.keep(Parcel(b"", [stored]))
        stored = large.lay_out(values._Encoder().pack(stored), [])
    shelf.keep(Parcel(b"", [stored]))
    with pytest.raises(NotDecodable, match="inside each other"):
        values.decode(values._Encoder().pack(stored), shelf)


class Forged:
    """Answers every name with the same bytes."""

    def __init__(self, blob: bytes) -> None:
        self.blob = blob

    def value(self, digest: bytes, size: int) -> memoryview:
        return memoryview(self.blob)

    def file(self, row: Row) -> File:
        return File.received(row)


NAMED = values.pack([b"x" * LARGE, np.zeros(LARGE)], Shelf().take)
WHOLE = b"".join(NAMED.stored[0].pieces)[:400]


def assert_harmless(blob: bytes) -> None:
    """Fail, with what was raised, unless the object is a value or one typed error."""
    with contextlib.suppress(NotDecodable):
        values.decode(NAMED.body, Forged(blob))


@given(st.binary(max_size=200))
def test_any_bytes_for_an_object_are_a_value_or_one_typed_error(blob: bytes) -> None:
    assert_harmless(blob)


@given(st.integers(0, 120), st.binary(min_size=1, max_size=8))
def test_a_damaged_object_is_a_value_or_one_typed_error(at: int, patch: bytes) -> None:
    assert_harmless(WHOLE[:at] + patch + WHOLE[at + len(patch) :])


@pytest.mark.parametrize(
    "row",
    [
        ["../up", bytes(32), 1, "file"],
        ["/etc/passwd", bytes(32), 1, "file"],
        ["a//b", bytes(32), 1, "file"],
        ["a\nb", bytes(32), 1, "file"],
        ["x" * 300, bytes(32), 1, "file"],
        ["", bytes(32), 1, "file"],
        ["a", bytes(31), 1, "file"],
        ["a", bytes(32), -1, "file"],
        ["a", bytes(32), 1, "tree"],
        ["a", bytes(32), 1],
        [b"a", bytes(32), 1, "file"],
        7,
    ],
    ids=str,
)
def test_a_file_that_is_none_or_would_leave_its_folder_is_refused(row: Any) -> None:
    import msgpack

    body = msgpack.packb(msgpack.ExtType(19, msgpack.packb(row)))
    with pytest.raises(NotDecodable):
        values.decode(body, Shelf())
