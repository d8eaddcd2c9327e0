"""Is a batch cut into frames that hold every task once, in order, with its spec?"""

from pathlib import Path

import pytest

from remuda.client.connection import Connection
from remuda.client.session import Session
from remuda.client.shipment import objects_of
from remuda.client.stream import ARGS_BYTES_MAX, Row, chunks
from remuda.client.submitter import Submitter
from remuda.protocol import messages as m
from remuda.protocol.claims import CLAIM_BYTES, DIGEST_BYTES, OBJECTS_PER_TASK_MAX
from remuda.protocol.codec import pack_document
from remuda.protocol.messages import BATCH_MAX

from ...fakes.toy_scheduler import ToyScheduler, ref_of

ONE, OTHER = {"kind": "command", "argv": ["a"]}, {"kind": "command", "argv": ["b"]}


def test_a_frame_takes_so_many_tasks():
    rows = [Row(ONE, b"%d" % number) for number in range(5)]
    assert [[b"0", b"1"], [b"2", b"3"], [b"4"]] == [each.args for each in chunks(rows, 2)]


def test_a_frame_ends_before_it_grows_too_large():
    large = b"x" * (ARGS_BYTES_MAX // 2 - 100)
    assert [2, 1] == [len(each.args) for each in chunks([Row(ONE, large)] * 3)]


def test_a_large_spec_counts_once_for_the_tasks_that_share_it():
    large = {"kind": "function", "target": "m:f", "source": b"x" * (ARGS_BYTES_MAX // 2)}
    assert [3] == [len(each.args) for each in chunks([Row(large, b"")] * 3)]
    assert [1, 1] == [len(each.args) for each in chunks([Row(large, b""), Row(dict(large), b"")])]


def test_each_spec_is_in_a_frame_once():
    (frame,) = chunks([Row(ONE, b""), Row(OTHER, b""), Row(ONE, b"")])
    assert ([ONE, OTHER], [0, 1, 0]) == (frame.specs, frame.spec_index)


def test_each_frame_has_the_specs_of_its_own_tasks():
    frames = chunks([Row(ONE, b""), Row(OTHER, b""), Row(OTHER, b"")], 2)
    assert [([ONE, OTHER], [0, 1]), ([OTHER], [0])] == [
        (each.specs, each.spec_index) for each in frames
    ]


def test_a_frame_ends_where_enough_waits_for_the_store() -> None:
    rows = [Row(ONE, b"%d" % number, [bytes(32)]) for number in range(3)]
    full = iter([False, True])
    found = list(chunks(rows, is_full=lambda: next(full)))
    assert [([b"0", b"1"], 2), ([b"2"], 1)] == [(each.args, len(each.digests)) for each in found]


def test_nothing_makes_no_frame():
    assert [] == list(chunks([]))


def test_a_pause_of_the_rows_ends_a_frame() -> None:
    rows = [None, Row(ONE, b"a"), Row(ONE, b"b"), None, None, Row(ONE, b"c")]
    assert [[b"a", b"b"], [b"c"]] == [each.args for each in chunks(rows)]


def test_frames_and_window_of_map_are_as_the_configuration_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = ToyScheduler(tmp_path)
    monkeypatch.setenv("REMUDA_CLIENT__MAP_FRAME_TASKS", "4")
    monkeypatch.setenv("REMUDA_CLIENT__MAP_WINDOW_TASKS", "8")
    session = Session(Connection(ref_of(toy)))
    assert 10 == len(Submitter(session).map("m:f", range(10)))
    session.close()
    toy.stop()
    assert [4, 4, 2] == [len(each.args) for each in toy.heard_of(m.Submit)]  # type: ignore[attr-defined]  # Submit


def test_the_claims_that_tasks_need_count_for_the_size_of_a_frame() -> None:
    digests = [bytes(32)] * OBJECTS_PER_TASK_MAX
    frames = list(chunks([Row(ONE, b"", digests)] * BATCH_MAX))
    claimed = [CLAIM_BYTES * sum(map(len, each.digests)) for each in frames]
    assert max(claimed) <= ARGS_BYTES_MAX < sum(claimed)


def test_the_claims_that_specs_need_count_for_the_size_of_a_frame() -> None:
    rows = []
    for task in range(500):
        digests = [bytes([task >> 8, task & 255, file]) * 11 for file in range(250)]
        files = {f"{n}": [each[:DIGEST_BYTES], 1, "file"] for n, each in enumerate(digests)}
        rows.append(Row({**ONE, "files": files}, b""))
    frames = list(chunks(rows))
    weights = [
        sum(len(pack_document(spec)) + CLAIM_BYTES * len(objects_of(spec)) for spec in each.specs)
        for each in frames
    ]
    assert 500 * 250 * CLAIM_BYTES < sum(weights)
    assert max(weights) <= ARGS_BYTES_MAX
