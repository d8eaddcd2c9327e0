"""Does a tree name only what lies in its folder, each name once?"""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.protocol.errors import Invalid
from remuda.protocol.trees import Entry, pack_tree, unpack_tree

DIGEST = b"d" * 32


def entry(name: str) -> Entry:
    return Entry(name, DIGEST, 1, "file")


def test_the_same_files_give_the_same_tree_in_any_order() -> None:
    entries = [entry("b"), entry("a/b"), entry("a/a")]
    blob = pack_tree(entries)
    assert blob == pack_tree(reversed(entries))
    assert sorted(entries) == unpack_tree(blob)


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../up", "a/../../b", "a//b", "a/", "./a", "a\\b", "a\0b", "a\nb"]
)
def test_a_name_that_may_lead_out_is_refused(name: str) -> None:
    with pytest.raises(Invalid):
        pack_tree([entry(name)])
    with pytest.raises(Invalid):
        unpack_tree(msgpack.packb([entry(name)]))


def test_a_name_is_there_once_and_no_file_is_a_folder() -> None:
    with pytest.raises(Invalid, match="once"):
        pack_tree([entry("a"), entry("a")])
    with pytest.raises(Invalid, match="a file and a folder"):
        pack_tree([entry("a"), entry("a-b"), entry("a/b")])


def test_rows_out_of_order_are_refused() -> None:
    with pytest.raises(Invalid, match="sorted"):
        unpack_tree(msgpack.packb([entry("b"), entry("a")]))


@pytest.mark.parametrize(
    "rows",
    [
        {},
        ["a"],
        [["a", DIGEST, 1]],
        [["a", b"short", 1, "file"]],
        [["a", DIGEST, -1, "file"]],
        [["a", DIGEST, 1, "link"]],
        [["a", DIGEST, True, "file"]],
    ],
)
def test_what_is_no_tree_is_refused(rows: object) -> None:
    with pytest.raises(Invalid):
        unpack_tree(msgpack.packb(rows))


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_invalid(blob: bytes) -> None:
    try:
        entries = unpack_tree(blob)
    except Invalid:
        entries = []
    assert entries == unpack_tree(pack_tree(entries))
