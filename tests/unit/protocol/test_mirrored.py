"""Is anything in the Redis mirror believed that the scheduler cannot have written?"""

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.protocol import mirrored
from remuda.protocol.mirrored import Head, NotUsable, Revision

TASK = bytes(range(16))
HEAD = Head(epoch=3, line=1, rev=40, at_ms=5)
CEILING = Revision(3, 41)
FIELDS = {
    "epoch": 3, "rev": 40, "id": TASK, "state": "running", "code": "", "attempt": 1, "node": "n1",
    "created_ms": 1, "ended_ms": 0, "at_ms": 5,
}  # fmt: skip


def read(blob: bytes) -> mirrored.MirroredTask:
    return mirrored.read_task(blob, TASK, HEAD, CEILING)


def verdict(**changes: Any) -> str:
    try:
        read(mirrored.pack_value(FIELDS | changes))
    except NotUsable as why:
        return str(why)
    return "usable"


def test_a_value_that_was_written_is_read_back() -> None:
    found = read(mirrored.pack_value(FIELDS))
    assert FIELDS == found._asdict()
    assert HEAD == mirrored.read_head(mirrored.pack_value(HEAD._asdict()))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"rev": 41}, "usable"),
        ({"rev": 42}, "its revision is newer than the scheduler's own"),
        ({"rev": -1}, "rev is no count"),
        ({"rev": True}, "rev is no count"),
        ({"rev": 1.0}, "rev is no count"),
        ({"epoch": 2}, "it is of another epoch"),
        ({"epoch": 4}, "it is of another epoch"),
        ({"id": b"x" * 16}, "it is the value of another task"),
        ({"id": "x" * 16}, "it is the value of another task"),
        ({"state": "done"}, "there is no such state"),
        ({"state": None}, "state is no short text"),
        ({"node": "n" * 256}, "node is no short text"),
        ({"code": b"raw"}, "code is no short text"),
        ({"node": "n" * 5_000}, "it is too large"),
    ],
)
def test_only_a_value_that_can_be_the_schedulers_is_usable(
    changes: dict[str, Any], why: str
) -> None:
    assert why == verdict(**changes)


@pytest.mark.parametrize(
    ("head", "floor", "why"),
    [
        (HEAD, Revision(3, 40), ""),
        (HEAD, Revision(2, 99), ""),
        (HEAD, Revision(3, 41), "the mirror is older than what was asked for"),
        (HEAD, Revision(4, 0), "the mirror is older than what was asked for"),
        (HEAD._replace(rev=42), Revision(3, 0), "the mirror's revision is newer than"),
        (HEAD._replace(epoch=2), Revision(2, 0), "the mirror is of another epoch"),
        (HEAD._replace(epoch=4), Revision(3, 0), "the mirror is of another epoch"),
    ],
)
def test_a_head_counts_only_within_the_schedulers_epoch_past_and_the_readers_wish(
    head: Head, floor: Revision, why: str
) -> None:
    if not why:
        assert mirrored.check_head(head, floor, CEILING) is None
        return
    with pytest.raises(NotUsable, match=why):
        mirrored.check_head(head, floor, CEILING)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats()
    | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner,
                                                                max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(st.binary(max_size=300) | ANYTHING.map(msgpack.packb))
def test_random_bytes_are_not_usable_and_nothing_worse(blob: bytes) -> None:
    with pytest.raises(NotUsable):
        read(blob)
    with pytest.raises(NotUsable):
        mirrored.read_head(blob)


@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), ANYTHING))
def test_a_value_with_fields_of_anything_is_checked_or_refused(changes: dict[str, Any]) -> None:
    try:
        found = read(mirrored.pack_value(FIELDS | changes))
    except NotUsable:
        return
    assert (TASK, 3) == (found.id, found.epoch)
    assert found.rev <= CEILING.rev


@given(st.binary(min_size=1, max_size=40), st.integers(0, 200))
def test_a_damaged_value_is_never_taken_for_one_of_the_future(noise: bytes, at: int) -> None:
    blob = mirrored.pack_value(FIELDS)
    at = min(at, len(blob))
    try:
        found = read(blob[:at] + noise + blob[at + len(noise) :])
    except NotUsable:
        return
    assert (TASK, 3) == (found.id, found.epoch)
    assert found.rev <= CEILING.rev


def test_keys_are_named_by_cluster_epoch_and_line() -> None:
    prefix = mirrored.line_prefix("c1", 3, 2)
    assert [
        "remuda:c1:head",
        "remuda:c1:3.2:task:00041061050R3GG28A1C60T3GF",
        "remuda:c1:3.2:node:gpu-1",
        "remuda:c1:3.2:counts",
        "remuda:c1:3.2:changes",
    ] == [
        mirrored.head_key("c1"),
        mirrored.task_key(prefix, TASK),
        mirrored.node_key(prefix, "gpu-1"),
        mirrored.counts_key(prefix),
        mirrored.changes_key(prefix),
    ]
