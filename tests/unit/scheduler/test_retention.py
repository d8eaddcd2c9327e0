"""Is what ended long ago forgotten in small slices, and everything that still matters kept?"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import apsw
import pytest

from remuda.scheduler.journal import Journal, connect
from remuda.scheduler.retention import (
    CHECK_EVERY_MS,
    IDLE_MS,
    SLICE_PAGES,
    SLICE_TASKS,
    Ages,
    Retention,
)
from remuda.scheduler.task import State

from . import facts
from .facts import DAY_MS

NOW_MS = 100 * DAY_MS
OLD_MS = NOW_MS - 8 * DAY_MS
NO_TIME_NS = 0
MUCH_TIME_NS = 10**10


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal.open(tmp_path / "state")
    yield opened
    opened.close()


def store_ended(journal: Journal, first: int, members: int, at_ms: int, once: str = "") -> None:
    """Store a frame whose tasks have all ended at one time."""
    journal.commit(facts.submission(first, members, created_ms=at_ms, once=once))
    for task in range(first, first + members):
        journal.commit(facts.granted(task))
        journal.commit(facts.ended(task, ended_ms=at_ms, value=b"v"))


def tidy(journal: Journal, now_ms: int = NOW_MS) -> None:
    """Give upkeep all the time that it wants."""
    for _ in range(1_000):
        if not journal.idle_work(MUCH_TIME_NS, now_ms):
            break
    else:
        pytest.fail("upkeep never came to an end")
    journal.idle_work(MUCH_TIME_NS, now_ms + IDLE_MS)


def count(journal: Journal, table: str) -> int:
    return int(journal._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def test_what_ended_a_week_ago_is_forgotten_with_all_its_rows(journal: Journal) -> None:
    store_ended(journal, 1, 3, OLD_MS)
    store_ended(journal, 4, 2, NOW_MS - DAY_MS)
    tidy(journal)
    assert [4, 5] == sorted(journal.history.task_rows(range(1, 9)))
    tables = ("tasks", "attempts", "results", "specs", "submissions")
    assert [2, 2, 2, 1, 1] == [count(journal, table) for table in tables]


def test_each_state_is_kept_for_its_own_time(tmp_path: Path) -> None:
    ages = Ages(
        succeeded_ms=DAY_MS, failed_ms=30 * DAY_MS, cancelled_ms=2 * DAY_MS, audit_ms=3 * DAY_MS
    )
    journal = Journal.open(tmp_path / "aged", ages=ages)
    states = (State.SUCCEEDED, State.FAILED, State.CANCELLED)
    for number, (days, state) in enumerate(product((31, 2.5, 1.5), states), 1):
        at_ms = NOW_MS - round(days * DAY_MS)
        journal.commit(facts.submission(number, created_ms=at_ms))
        journal.commit(facts.granted(number))
        journal.commit(facts.ended(number, state, ended_ms=at_ms))
    tidy(journal)
    left = journal.history.task_rows(range(1, 10)).values()
    assert [(5, State.FAILED), (8, State.FAILED), (9, State.CANCELLED)] == sorted(
        (row["number"], row["state"]) for row in left
    )
    audit = journal._db.execute("SELECT seq FROM audit ORDER BY seq").fetchall()
    assert [4, 5, 6, 7, 8, 9] == [seq for (seq,) in audit]
    tidy(journal, NOW_MS + 29 * DAY_MS)
    assert [] == list(journal.history.task_rows(range(1, 10)))
    journal.close()


def test_what_ended_before_what_was_looked_through_goes_within_a_day(journal: Journal) -> None:
    tidy(journal)
    store_ended(journal, 1, 1, OLD_MS)  # the clock was wrong
    tidy(journal, NOW_MS + CHECK_EVERY_MS)
    tidy(journal, NOW_MS + DAY_MS)
    assert [] == list(journal.history.task_rows([1]))


def test_what_has_not_ended_is_kept_however_old_it_is(journal: Journal) -> None:
    journal.commit(facts.submission(1, created_ms=1))
    journal.commit(facts.submission(2, created_ms=1))
    journal.commit(facts.granted(2))
    tidy(journal)
    assert [1, 2] == [task.number for task in journal.recover().tasks]


def test_a_frame_with_one_open_task_is_still_answered(journal: Journal) -> None:
    journal.commit(facts.submission(1, 2, created_ms=OLD_MS))
    journal.commit(facts.granted(1))
    journal.commit(facts.ended(1, ended_ms=OLD_MS))
    journal.commit(facts.submission(3, created_ms=OLD_MS))
    tidy(journal)
    assert [2, 3] == [task.number for task in journal.recover().tasks]
    assert journal.history.find_submission("ana", (1).to_bytes(16, "big")) is not None


def test_keys_live_as_long_as_retention_although_their_task_is_gone(journal: Journal) -> None:
    journal.commit(facts.submission(1, created_ms=NOW_MS - 2 * DAY_MS, once="nightly"))
    journal.commit(facts.granted(1))
    journal.commit(facts.ended(1, ended_ms=NOW_MS - 2 * DAY_MS))
    store_ended(journal, 2, 1, NOW_MS - DAY_MS)
    small = Retention(journal._db, ages=Ages(bytes_max=1))
    while small.work(MUCH_TIME_NS, NOW_MS):
        pass
    assert 0 == count(journal, "tasks")
    assert 1 == journal.history.find_once("ana", "nightly")
    assert journal.history.find_submission("ana", (1).to_bytes(16, "big")) is not None
    tidy(journal, NOW_MS + 8 * DAY_MS)
    assert journal.history.find_once("ana", "nightly") is None


def test_numbers_and_specs_go_on_when_everything_was_forgotten(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "state")
    store_ended(journal, 1, 5, OLD_MS)
    tidy(journal)
    assert 0 == count(journal, "tasks")
    journal.close()
    journal = Journal.open(tmp_path / "state")
    recovered = journal.recover()
    assert 6 == recovered.next_number
    assert 2 == recovered.next_spec_id
    journal.close()


def test_one_piece_of_upkeep_is_one_small_slice(journal: Journal) -> None:
    store_ended(journal, 1, SLICE_TASKS + 20, OLD_MS)
    while count(journal, "tasks") == SLICE_TASKS + 20:
        assert journal.idle_work(NO_TIME_NS, NOW_MS), "there was more to do"
    assert 20 == count(journal, "tasks")
    tidy(journal)
    assert 0 == count(journal, "tasks")


def test_upkeep_looks_only_now_and_then(journal: Journal) -> None:
    tidy(journal)
    store_ended(journal, 1, 1, OLD_MS)
    assert not journal.idle_work(MUCH_TIME_NS, NOW_MS + CHECK_EVERY_MS - 1)
    assert 1 == count(journal, "tasks")
    tidy(journal, NOW_MS + CHECK_EVERY_MS)
    assert 0 == count(journal, "tasks")


def test_a_journal_over_its_size_forgets_the_oldest_first(journal: Journal) -> None:
    for number in range(1, 2 * SLICE_TASKS + 1):
        store_ended(journal, number, 1, NOW_MS - 2 * SLICE_TASKS + number)
    size = int(journal._db.pragma("page_count")) * int(journal._db.pragma("page_size"))
    journal.commit(facts.submission(1_000, created_ms=NOW_MS))
    small = Retention(journal._db, ages=Ages(bytes_max=size - 4096))
    small.work(NO_TIME_NS, NOW_MS)
    kept = sorted(journal.history.task_rows(range(1, 1_001)))
    assert [*range(SLICE_TASKS + 1, 2 * SLICE_TASKS + 1), 1_000] == kept


def test_upkeep_moves_the_log_into_the_database(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "state")
    log = tmp_path / "state" / "journal.db-wal"
    for number in range(1, 40):
        journal.commit(facts.submission(number, stdin=bytes(60_000)))
    assert log.stat().st_size > 1 << 20
    tidy(journal)
    assert 0 == log.stat().st_size
    journal.close()


def test_a_pause_between_two_commits_is_no_time_for_a_checkpoint(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "state")
    log = tmp_path / "state" / "journal.db-wal"
    for number in range(1, 40):
        journal.commit(facts.submission(number, stdin=bytes(60_000)))
        journal.idle_work(MUCH_TIME_NS, NOW_MS + number * (IDLE_MS // 2))
    assert log.stat().st_size > 1 << 20
    journal.close()


def test_a_reader_in_the_middle_of_an_answer_does_not_stop_upkeep(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "state")
    journal.commit(facts.submission(1, 10))
    reader = connect(tmp_path / "state" / "journal.db", read_only=True)
    rows = iter(reader.execute("SELECT * FROM tasks"))
    next(rows)
    for number in range(11, 50):
        journal.commit(facts.submission(number, stdin=bytes(60_000)))
    journal.idle_work(MUCH_TIME_NS, NOW_MS)
    assert 9 == len(list(rows))
    reader.close()
    tidy(journal)
    journal.close()


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED])
def test_every_kind_of_end_is_forgotten(journal: Journal, state: State) -> None:
    journal.commit(facts.submission(1))
    journal.commit(facts.granted(1))
    journal.commit(facts.ended(1, state, ended_ms=OLD_MS))
    tidy(journal)
    assert {} == journal.history.task_rows([1])


def test_freed_pages_go_back_to_the_file_system(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "state")
    for number in range(1, 80):
        journal.commit(facts.submission(number, created_ms=OLD_MS, stdin=bytes(50_000)))
        journal.commit(facts.granted(number))
        journal.commit(facts.ended(number, ended_ms=OLD_MS))
    tidy(journal, OLD_MS)
    before = (tmp_path / "state" / "journal.db").stat().st_size
    tidy(journal)
    journal.close()
    assert before / 2 > (tmp_path / "state" / "journal.db").stat().st_size


def test_one_slice_of_upkeep_gives_back_a_slice_of_pages(journal: Journal) -> None:
    for number in range(1, 80):
        journal.commit(facts.submission(number, stdin=bytes(50_000)))
    for table in ("tasks", "submissions", "specs"):
        journal._db.execute(f"DELETE FROM {table}")
    free = int(journal._db.pragma("freelist_count"))
    upkeep = Retention(journal._db)
    upkeep.work(NO_TIME_NS, NOW_MS)
    assert SLICE_PAGES == free - int(journal._db.pragma("freelist_count"))


def test_the_journal_is_made_to_give_pages_back(journal: Journal) -> None:
    incremental = 2
    assert incremental == journal._db.pragma("auto_vacuum")
    assert isinstance(journal._db, apsw.Connection)
