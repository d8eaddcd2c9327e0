"""Is a turn on disk whole or not at all, and is what was acknowledged there after any end?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from remuda.scheduler.journal import Journal
from remuda.scheduler.records import Commit
from remuda.scheduler.task import State

from . import facts

TABLES = ("specs", "submissions", "once_keys", "tasks", "attempts", "results", "audit")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal.open(tmp_path / "state")
    yield opened
    opened.close()


def contents(folder: Path) -> dict[str, list[object]]:
    """Read every row with a connection of our own."""
    database = apsw.Connection(str(folder / "journal.db"), flags=apsw.SQLITE_OPEN_READONLY)
    rows = {table: list(database.execute(f"SELECT * FROM {table}")) for table in TABLES}
    database.close()
    return rows


def whole_life(task: int) -> Commit:
    """Return a turn that touches every table."""
    turn = facts.submission(task, once=f"key {task}")
    turn.granted = facts.granted(task).granted
    turn.ended = facts.ended(task).ended
    turn.results = facts.ended(task, value=b"v").results
    return turn


# --- all or nothing ------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES)
def test_a_turn_that_fails_at_any_table_leaves_nothing(tmp_path: Path, table: str) -> None:
    folder = tmp_path / "state"
    journal = Journal.open(folder)
    journal.commit(whole_life(1))
    before = contents(folder)
    saboteur = apsw.Connection(str(folder / "journal.db"))
    saboteur.execute(
        f"CREATE TRIGGER boom AFTER INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'boom'); END"
    )
    with pytest.raises(apsw.ConstraintError, match="boom"):
        journal.commit(whole_life(2))
    assert before == contents(folder)
    saboteur.execute("DROP TRIGGER boom")
    saboteur.close()
    journal.commit(whole_life(2))
    assert 2 == len(contents(folder)["tasks"])
    journal.close()


def test_an_empty_turn_is_no_commit() -> None:
    assert not Commit()
    assert facts.granted(1)


class FailingFile(apsw.VFSFile):
    """A file whose writes and syncs fail once the countdown of its disk is over."""

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - apsw's name
        Disk.tick()
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802 - apsw's name
        Disk.tick()
        super().xSync(flags)


class Disk(apsw.VFS):
    """A disk that breaks after a number of writes and syncs, and stays broken."""

    left = -1
    ticks = 0

    def __init__(self) -> None:
        super().__init__("breaking", "unix", makedefault=True)

    @classmethod
    def tick(cls) -> None:
        cls.ticks += 1
        if cls.left == 0:
            raise apsw.IOError("the disk broke")
        cls.left -= 1

    def xOpen(self, name, flags):  # noqa: N802 - apsw's name
        return FailingFile("unix", name, flags)


@pytest.fixture
def disk() -> Iterator[type[Disk]]:
    Disk.left, Disk.ticks = -1, 0
    broken = Disk()
    yield Disk
    Disk.left = -1
    broken.unregister()


def test_after_an_error_of_the_disk_a_turn_is_there_whole_or_not_at_all(
    tmp_path: Path, disk: type[Disk]
) -> None:
    acknowledged, countdown = False, 0
    while not acknowledged:
        folder = tmp_path / f"state-{countdown}"
        journal = Journal.open(folder)
        journal.commit(whole_life(1))
        disk.left = countdown
        try:
            journal.commit(whole_life(2))
            acknowledged = True
        except apsw.IOError:
            acknowledged = False
        disk.left = -1
        abandon(journal)
        reopened = Journal.open(folder)
        counts = {table: len(rows) for table, rows in contents(folder).items()}
        reopened.close()
        assert counts in (dict.fromkeys(TABLES, 1), dict.fromkeys(TABLES, 2))
        assert not acknowledged or counts["tasks"] == 2
        countdown += 1
    assert 3 < countdown, "a commit writes several pages and syncs them"


def abandon(journal: Journal) -> None:
    """Let go of a journal without a checkpoint, as a process that ends at once."""
    journal._reader.close()
    journal._db.close(True)
    os.close(journal._lock)


def test_a_commit_is_synced_before_it_returns(journal: Journal) -> None:
    assert 2 == journal._db.pragma("synchronous"), "FULL"
    assert "wal" == journal._db.pragma("journal_mode")


def test_a_commit_reaches_the_disk_by_a_sync(tmp_path: Path, disk: type[Disk]) -> None:
    synced: list[int] = []
    journal = Journal.open(tmp_path / "state")
    original = FailingFile.xSync
    FailingFile.xSync = lambda self, flags: (synced.append(flags), original(self, flags))[1]  # type: ignore[method-assign]  # count
    try:
        journal.commit(facts.submission(1))
    finally:
        FailingFile.xSync = original  # type: ignore[method-assign]  # as it was
    assert len(synced) >= 1
    journal.close()


# --- kill -9 -------------------------------------------------------------------------------

CHILD = """
import sys
from pathlib import Path
from remuda.scheduler.journal import Journal
sys.path.insert(0, sys.argv[2])
import facts
journal = Journal.open(Path(sys.argv[1]))
first = journal.recover().next_number
while True:
    turn = facts.submission(first, 3)
    turn.granted = [row for n in range(first, first + 3) for row in facts.granted(n).granted]
    journal.commit(turn)
    print(first, flush=True)
    first += 3
"""


def test_nothing_acknowledged_is_missing_after_kill_nine(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    acknowledged: list[int] = []
    for least in (5, 40, 80):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(folder), str(Path(facts.__file__).parent)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        for line in child.stdout:
            acknowledged.append(int(line))
            if len(acknowledged) >= least:
                break
        child.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in child.stdout.read().splitlines()]
        child.wait()
        child.stdout.close()
    journal = Journal.open(folder)
    recovered = journal.recover()
    numbers = {task.number for task in recovered.tasks}
    assert [] == [n for first in acknowledged for n in range(first, first + 3) if n not in numbers]
    assert len(acknowledged) <= len(numbers) // 3 <= len(acknowledged) + 3
    assert numbers == {attempt.task for attempt in recovered.attempts}
    assert sorted(acknowledged) == acknowledged
    assert recovered.next_number == max(numbers) + 1
    journal.close()


# --- what a start brings back --------------------------------------------------------------


def test_a_start_finds_what_has_not_ended(journal: Journal) -> None:
    for task in (1, 2, 3):
        journal.commit(facts.submission(task, name=f"t{task}"))
    journal.commit(facts.granted(1, 1, "n1", "GPU-1", "GPU-2"))
    journal.commit(facts.granted(2))
    journal.commit(facts.ended(2))
    found = journal.recover()
    assert [1, 3] == [task.number for task in found.tasks]
    assert [(1, 1, "n1", ("GPU-1", "GPU-2"))] == [
        (row.task, row.number, row.node, row.gpus) for row in found.attempts
    ]
    assert {1, 3} == set(found.specs)
    assert (4, 4) == (found.next_number, found.next_spec_id)


def test_a_new_journal_counts_from_one(journal: Journal) -> None:
    found = journal.recover()
    assert (1, 1, []) == (found.next_number, found.next_spec_id, list(found.tasks))


def test_a_result_is_written_once(journal: Journal) -> None:
    journal.commit(facts.submission(1))
    journal.commit(facts.granted(1))
    journal.commit(facts.ended(1, value=b"first"))
    with pytest.raises(apsw.ConstraintError):
        journal.commit(facts.ended(1, State.FAILED, value=b"second"))
    result = journal.history.ended([1])[1]
    assert (State.SUCCEEDED, b"first") == (result.state, result.value)


def test_epoch_grows_and_secret_stays_over_starts(tmp_path: Path) -> None:
    seen = []
    for _ in range(3):
        journal = Journal.open(tmp_path / "state")
        seen.append((journal.next_epoch(), journal.secret(), journal.cluster_id()))
        journal.close()
    assert [1, 2, 3] == [epoch for epoch, _, _ in seen]
    assert 1 == len({rest for _, *rest in map(list, seen) for rest in [tuple(rest)]})
    assert 32 == len(seen[0][1])


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    Journal.open(tmp_path / "state").close()
    assert 0o600 == (tmp_path / "state" / "journal.db").stat().st_mode & 0o777
    assert 0o700 == (tmp_path / "state").stat().st_mode & 0o777
