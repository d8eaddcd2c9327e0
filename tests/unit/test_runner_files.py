"""Are the runner's files what their readers expect, whole or torn?"""

from __future__ import annotations

from pathlib import Path

import pytest

from remuda.node import outputs
from remuda.node.runner import answers, cgroup
from remuda.node.runner.progress import parse_progress
from remuda.node.runner.spool import Spool, read_spool
from remuda.node.runner.streams import Stream
from remuda.worker import batches, frames
from remuda.worker.batches import Outcome, attempt_key

TASK = b"t" * 16


def body(text: bytes) -> bytes:
    return batches.pack_results(0, [Outcome(TASK, 1, batches.OK, text)])


def texts(bodies: list[bytes]) -> list[bytes]:
    return [batches.unpack_results(one)[1][0].body for one in bodies]


def test_a_spool_gives_back_what_was_written(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    first, second = spool.append(body(b"one")), spool.append(body(b"two"))
    found = spool.read(second)
    assert found is not None
    assert second == batches.unpack_results(found)[0]
    assert [first, second] == spool.waiting()
    assert [b"one", b"two"] == texts(read_spool(tmp_path))


def test_a_torn_last_record_is_ignored(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append(body(b"whole"))
    spool.append(body(b"torn"))
    (path,) = tmp_path.glob("spool.*")
    for cut in range(1, len(body(b"torn")) + 4):
        path.write_bytes(path.read_bytes()[:-1])
        assert [b"whole"] == texts(read_spool(tmp_path)), cut


def test_acknowledged_records_leave_the_disk(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    records = [spool.append(body(b"x" * 60_000)) for _ in range(60)]
    assert len(list(tmp_path.glob("spool.*"))) > 2
    for record in records:
        assert spool.forget(record)
    assert not spool.forget(records[0])
    assert 0 == sum(path.stat().st_size for path in tmp_path.glob("spool.*"))
    assert [] == read_spool(tmp_path)


def test_records_after_an_emptied_segment_are_readable(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.forget(spool.append(body(b"gone")))
    record = spool.append(body(b"here"))
    found = spool.read(record)
    assert found is not None
    assert [b"here"] == texts([found])
    assert [b"here"] == texts(read_spool(tmp_path))


def test_a_torn_result_file_counts_as_none(tmp_path: Path) -> None:
    book = answers.Answers(tmp_path)
    done = frames.Finished(TASK, 1, "exit", 0, out_inline=b"x")
    book.finish(done)
    path = tmp_path / "a" / attempt_key(TASK, 1) / "result.json"
    assert done == answers.read_result(path)
    path.write_bytes(path.read_bytes()[:-5])
    assert None is answers.read_result(path)


def test_only_so_many_acknowledged_attempts_are_remembered(tmp_path: Path) -> None:
    book = answers.Answers(tmp_path)
    for attempt in range(answers.KNOWN_MAX + 1):
        key = frames.join_key(TASK, attempt)
        book.ack(frames.Ack([book.results(body(b""), [key])]))
    oldest, newest = frames.join_key(TASK, 0), frames.join_key(TASK, answers.KNOWN_MAX)
    assert (False, True) == (book.answered(oldest), book.answered(newest))


def stream_of(tmp_path: Path, data: bytes, *, bytes_max: int, tail_bytes: int) -> Stream:
    folder = tmp_path / "a" / attempt_key(TASK, 1)
    folder.mkdir(parents=True)
    stream = Stream(folder / "out", bytes_max=bytes_max, tail_bytes=tail_bytes)
    for at in range(0, len(data), 7):
        stream.write(data[at : at + 7])
    stream.close()
    return stream


DATA = bytes(range(250))


def test_output_within_the_bound_is_read_whole_by_offset(tmp_path: Path) -> None:
    stream_of(tmp_path, DATA, bytes_max=1000, tail_bytes=50)
    chunk = outputs.read(tmp_path, TASK, 1, "out", 100, 30)
    assert outputs.Chunk(DATA[100:130], 100, 250, 0) == chunk
    assert b"" == outputs.read(tmp_path, TASK, 1, "out", 250, 30).data
    assert b"" == outputs.read(tmp_path, TASK, 1, "err", 0, 30).data


def test_reading_on_after_a_cut_jumps_to_the_tail_and_says_how_far(tmp_path: Path) -> None:
    stream_of(tmp_path, DATA, bytes_max=100, tail_bytes=50)
    assert DATA[90:100] == outputs.read(tmp_path, TASK, 1, "out", 90, 500).data
    assert outputs.Chunk(DATA[200:], 200, 250, 100) == outputs.read(
        tmp_path, TASK, 1, "out", 100, 500
    )
    assert outputs.Chunk(DATA[230:240], 230, 250, 0) == outputs.read(
        tmp_path, TASK, 1, "out", 230, 10
    )


@pytest.mark.parametrize("length", [0, 10, 40, 41, 80, 99, 100, 101, 130, 170, 250])
def test_head_and_tail_never_overlap_and_miss_only_what_was_cut(
    tmp_path: Path, length: int
) -> None:
    stream_of(tmp_path, DATA[:length], bytes_max=100, tail_bytes=60)
    seen = outputs.summary(tmp_path, TASK, 1, "out", side_bytes_max=40)
    data = DATA[:length]
    assert data[:40] == seen.head
    assert data[max(40, length - 40) :] == seen.tail
    assert max(0, length - 80) == seen.cut


def test_removing_an_attempt_removes_its_output(tmp_path: Path) -> None:
    stream_of(tmp_path, DATA, bytes_max=100, tail_bytes=50)
    assert 100 + 8 + 50 == outputs.disk_bytes(tmp_path, TASK, 1)
    outputs.remove(tmp_path, TASK, 1)
    assert 0 == outputs.disk_bytes(tmp_path, TASK, 1)


def test_an_unknown_stream_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="out, err"):
        outputs.read(tmp_path, TASK, 1, "../x", 0, 1)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0.4 step 8/20", (0.4, "step 8/20")),
        ("1", (1.0, "")),
        ("7 over", (1.0, "over")),
        ("-1 x", (0.0, "x")),
        ("half done", None),
        ("nan x", None),
        ("", None),
        ("0.5 " + "y" * 900, (0.5, "y" * 200)),
    ],
)
def test_a_line_of_progress_is_read(line: str, expected: tuple[float, str] | None) -> None:
    assert expected == parse_progress(line)


def test_without_a_delegated_subtree_no_cgroup_is_made(tmp_path: Path) -> None:
    assert "" == cgroup.enter("r", mount=tmp_path, membership="0::/user.slice")
    (tmp_path / "cgroup.controllers").touch()
    (tmp_path / "user.slice").mkdir()
    assert "" == cgroup.enter("r", mount=tmp_path, membership="0::/user.slice")
    assert [] == list((tmp_path / "user.slice").iterdir())


def test_killing_a_cgroup_that_is_gone_is_said(tmp_path: Path) -> None:
    assert not cgroup.kill(str(tmp_path / "none"))
