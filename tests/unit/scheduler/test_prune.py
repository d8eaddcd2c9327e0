"""Does pruning remove what was asked for, only what has ended, and nothing that guards a key?"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import pytest

from remuda.protocol import ids
from remuda.protocol import messages as m
from remuda.protocol.errors import DiskFull, Invalid
from remuda.scheduler.access import Principal, Role
from remuda.scheduler.audit import first_broken_link
from remuda.scheduler.events import Now
from remuda.scheduler.feed import EventFeed
from remuda.scheduler.feed_rows import Wanted
from remuda.scheduler.journal import Journal
from remuda.scheduler.prune_verb import prune
from remuda.scheduler.pruning import SCANNED_MAX, Pruning
from remuda.scheduler.task import State

from . import facts

NOW = Now(1, 100_000 * 1_000_000)
ANA, ROOT = Principal("ana", Role.SUBMIT), Principal("root", Role.OPERATOR)


@dataclass
class Sight:
    """The part of a view that pruning looks at."""

    journal: Journal
    feed: EventFeed = field(default_factory=lambda: EventFeed(1, 1))

    @property
    def pruning(self) -> Pruning:
        return self.journal.pruning

    def ended(
        self, task: int, state: State = State.SUCCEEDED, at_ms: int = 3_000, **spec: Any
    ) -> None:
        """Store a task that has ended."""
        self.journal.commit(facts.submission(task, **spec))
        self.journal.commit(facts.granted(task))
        self.journal.commit(facts.ended(task, state, ended_ms=at_ms, value=b"v"))

    def prune(self, who: Principal = ROOT, **asked: Any) -> dict[str, Any]:
        message = m.Prune(**{"tasks": [], "filters": {}, **asked})
        return prune(self, message, who, NOW).body  # type: ignore[arg-type]  # what it looks at

    def left(self) -> list[int]:
        return sorted(self.journal.history.task_rows(range(1, 99)))

    def count(self, table: str) -> int:
        return int(self.journal._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


@pytest.fixture
def sight(tmp_path: Path) -> Iterator[Sight]:
    journal = Journal.open(tmp_path / "state")
    yield Sight(journal)
    assert first_broken_link(journal._db) is None
    journal.close()


def keys(*tasks: int) -> list[bytes]:
    return [ids.to_bytes(task) for task in tasks]


def test_named_tasks_go_with_all_their_rows_and_open_ones_stay(sight: Sight) -> None:
    sight.ended(1)
    sight.ended(2)
    sight.journal.commit(facts.submission(3))
    done = sight.prune(tasks=keys(1, 3, 50, 1))
    assert {"removed": 1, "open": 1, "unknown": 1, "cursor": ""} == done
    assert [2, 3] == sight.left()
    assert [2, 1, 1, 2] == [sight.count(t) for t in ("tasks", "attempts", "results", "specs")]
    assert [3] == [task.number for task in sight.journal.recover().tasks]


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        ({"filters": {"states": ["failed"]}}, [1, 3, 4]),
        ({"filters": {"owner": "bob"}}, [1, 2, 3]),
        ({"filters": {"name": "train"}}, [1, 2, 4]),
        ({"filters": {"node": "n1"}}, []),
        ({"filters": {"node": "n2"}}, [1, 2, 3, 4]),
        ({"filters": {"tags": {"team": "a"}}}, [1, 2, 4]),
        ({"before_ms": 3_000}, [2, 3, 4]),
        ({"before_ms": 3_001, "filters": {"states": ["succeeded"]}}, [2]),
    ],
    ids=str,
)
def test_each_filter_says_which(sight: Sight, asked: dict[str, Any], left: list[int]) -> None:
    sight.ended(1, at_ms=2_000)
    sight.ended(2, State.FAILED)
    sight.ended(3, name="train", tags={"team": "a"})
    sight.ended(4, owner="bob")
    wanted = {"removed": 4 - len(left), "open": 0, "unknown": 0, "cursor": ""}
    assert wanted == sight.prune(dry_run=True, **asked)
    assert [1, 2, 3, 4] == sight.left()
    assert wanted == sight.prune(**asked)
    assert left == sight.left()


def test_many_go_in_slices_that_a_cursor_joins(sight: Sight) -> None:
    total = 2 * m.PRUNE_MAX + 10
    sight.journal.commit(facts.submission(1, total))
    for task in range(1, total + 1):
        sight.journal.commit(facts.granted(task))
        sight.journal.commit(facts.ended(task, ended_ms=3_000 + task % 3))
    cursor, removed = "", []
    while True:
        done = sight.prune(before_ms=9_000, cursor=cursor)
        removed.append(done["removed"])
        cursor = done["cursor"]
        if not cursor:
            break
    assert [m.PRUNE_MAX, m.PRUNE_MAX, 10] == removed
    assert 0 == sight.count("tasks")


def test_a_rare_filter_costs_short_questions_and_misses_nothing(sight: Sight) -> None:
    total = SCANNED_MAX + 5
    commit = facts.submission(1, total)
    sight.journal.commit(commit)
    sight.journal._db.execute("UPDATE tasks SET state = 5, ended_ms = 3000 + number")
    sight.journal._db.execute("UPDATE tasks SET name = 'rare' WHERE number = ?", (total,))
    first = sight.prune(filters={"name": "rare"})
    assert (0, True) == (first["removed"], bool(first["cursor"]))
    assert 1 == sight.prune(filters={"name": "rare"}, cursor=first["cursor"])["removed"]


def test_a_submitter_prunes_its_own_tasks_alone(sight: Sight) -> None:
    sight.ended(1)
    sight.ended(2, owner="bob")
    assert (1, 1) == (
        (done := sight.prune(ANA, tasks=keys(1, 2)))["removed"],
        done["unknown"],
    )
    assert 0 == sight.prune(ANA, filters={"owner": "bob"})["removed"]
    assert [2] == sight.left()


def test_a_frame_and_a_key_of_pruned_tasks_are_still_known(sight: Sight) -> None:
    sight.ended(1, once="nightly")
    sight.prune(tasks=keys(1))
    history = sight.journal.history
    assert 1 == history.find_once("ana", "nightly")
    assert history.find_submission("ana", (1).to_bytes(16, "big")) is not None


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"filters": {"active": True}},
        {"filters": {"states": ["running"]}},
        {"filters": {"colour": "red"}},
        {"tasks": [b"short"]},
        {"tasks": keys(*range(1, m.PRUNE_MAX + 2))},
    ],
    ids=lambda asked: ",".join(asked) or "nothing",
)
def test_what_names_nothing_that_can_be_pruned_is_refused(
    sight: Sight, asked: dict[str, Any]
) -> None:
    with pytest.raises(Invalid):
        sight.prune(**asked)


def test_what_was_removed_is_counted_by_state_told_and_audited(sight: Sight) -> None:
    sight.ended(1)
    sight.ended(2, State.FAILED)
    sight.prune(filters={"node": "n1"})
    assert {State.SUCCEEDED: 1, State.FAILED: 1} == sight.pruning.take_removed()
    assert {} == sight.pruning.take_removed()
    told = sight.feed.ask(1, m.Events(0, 0, 0, 10, {}), "root", Wanted(), NOW)
    assert ["scheduler.started", "task.pruned"] == [row["kind"] for row in told[0].message.rows]
    rows = sight.journal._db.execute("SELECT principal, verb, subject FROM audit").fetchall()
    assert ("root", "prune", "2 tasks") == rows[-1]


def test_a_disk_without_any_room_refuses_and_removes_nothing(
    sight: Sight, monkeypatch: pytest.MonkeyPatch
) -> None:
    sight.ended(1)

    def full(*_: object) -> None:
        raise apsw.FullError

    monkeypatch.setattr(sight.journal.room, "write", full)
    with pytest.raises(DiskFull):
        sight.prune(tasks=keys(1))
    assert ([1], {}) == (sight.left(), sight.pruning.take_removed())
