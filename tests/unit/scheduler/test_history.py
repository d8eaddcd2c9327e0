"""Does the journal tell what happened, page by page and by every filter?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remuda.protocol import ids
from remuda.scheduler.catalogue import COUNTED_MAX, Catalogue
from remuda.scheduler.history import CHUNK, History
from remuda.scheduler.journal import Journal
from remuda.scheduler.records import AttemptEnded, Commit, Payload
from remuda.scheduler.task import State

from . import facts

BATCH = 500_000


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    """Yield a journal with a history: ten tasks of ana, five of bob, and a batch in two frames."""
    journal = Journal.open(tmp_path_factory.mktemp("history") / "state")
    journal.commit(facts.submission(1, 10, name="even", tags={"film": "metropolis"}))
    journal.commit(facts.submission(11, 5, owner="bob", name="odd", once="", tags={"film": "m"}))
    journal.commit(facts.submission(16, 1, once="nightly"))
    for offset, first in ((0, 20), (3, 23)):
        key = b"k" * 16
        journal.commit(
            facts.submission(first, 3, owner="eve", batch=BATCH, batch_key=key, offset=offset)
        )
    for task in (1, 2, 3):
        journal.commit(facts.granted(task, 1, "n1", "GPU-1"))
    journal.commit(facts.ended(1, value=b"one"))
    journal.commit(facts.ended(2, State.FAILED))
    journal.commit(facts.granted(11, 1, "n2"))
    for task, state in ((20, State.SUCCEEDED), (23, State.FAILED), (24, State.FAILED)):
        journal.commit(facts.granted(task, 1, "n3"))
        journal.commit(facts.ended(task, state))
    yield journal
    journal.close()


@pytest.fixture(scope="module")
def history(journal: Journal) -> History:
    return journal.history


@pytest.fixture(scope="module")
def catalogue(journal: Journal) -> Catalogue:
    return journal.catalogue


def numbers(catalogue: Catalogue, **filters: Any) -> list[int]:
    return [row["number"] for row in catalogue.list_tasks(filters, 100, "")[0]]


ALL = [*range(25, 19, -1), *range(16, 0, -1)]


def test_a_listing_is_newest_first(catalogue: Catalogue) -> None:
    rows, total, cursor = catalogue.list_tasks({}, 100, "")
    assert (ALL, len(ALL), "") == ([row["number"] for row in rows], total, cursor)


@pytest.mark.parametrize("limit", [1, 2, 5, len(ALL)])
def test_pages_join_into_the_whole_listing(catalogue: Catalogue, limit: int) -> None:
    found: list[int] = []
    cursor = ""
    while True:
        rows, total, cursor = catalogue.list_tasks({}, limit, cursor)
        assert len(rows) <= limit
        assert len(ALL) == total
        found += [row["number"] for row in rows]
        if not cursor:
            break
    assert ALL == found


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"owner": "bob"}, [15, 14, 13, 12, 11]),
        ({"owner": "nobody"}, []),
        ({"name": "odd"}, [15, 14, 13, 12, 11]),
        ({"states": ["succeeded"]}, [20, 1]),
        ({"states": ["failed", "succeeded"]}, [24, 23, 20, 2, 1]),
        ({"states": ["failed"], "owner": "ana"}, [2]),
        ({"node": "n2"}, [11]),
        ({"node": "n1", "states": ["queued"]}, [3]),
        ({"batch": ids.to_bytes(BATCH)}, [25, 24, 23, 22, 21, 20]),
        ({"tags": {"film": "m"}}, [15, 14, 13, 12, 11]),
        ({"tags": {"film": "metropolis"}, "states": ["failed"]}, [2]),
        ({"tags": {"film": "no such"}}, []),
        ({"owner": "'; DROP TABLE tasks; --"}, []),
    ],
)
def test_filters_narrow_the_listing(
    catalogue: Catalogue, filters: dict[str, Any], expected: list[int]
) -> None:
    assert expected == numbers(catalogue, **filters)


@pytest.mark.parametrize("cursor", ["0", "-5", "x", "1e3", "9" * 30])
def test_a_cursor_that_is_none_does_no_harm(catalogue: Catalogue, cursor: str) -> None:
    rows, total, _ = catalogue.list_tasks({}, 5, cursor)
    assert len(rows) <= 5
    assert len(ALL) == total


def test_counting_stops_somewhere() -> None:
    assert COUNTED_MAX <= 1_000_000


def test_a_frame_is_found_by_its_key_and_principal(history: History) -> None:
    row = history.find_submission("ana", (1).to_bytes(16, "big"))
    assert row is not None
    assert (1, 10, 0) == (row.first_number, row.members, row.batch)
    assert history.find_submission("bob", (1).to_bytes(16, "big")) is None
    assert list(range(1, 11)) == history.task_ids(row.first_number, row.members)


def test_a_batch_is_found_by_its_key_and_knows_its_frames(history: History) -> None:
    assert BATCH == history.find_batch("eve", b"k" * 16)
    assert history.find_batch("ana", b"k" * 16) is None
    assert [(0, 20, 3), (3, 23, 3)] == [
        (row.offset, row.first_number, row.members) for row in history.batch_rows(BATCH)
    ]


def test_an_idempotency_key_belongs_to_its_owner(history: History) -> None:
    assert 16 == history.find_once("ana", "nightly")
    assert history.find_once("bob", "nightly") is None


def test_a_task_is_shown_with_spec_attempts_and_result(history: History) -> None:
    shown = history.show_task(1)
    assert shown is not None
    assert ("even", "ana", State.SUCCEEDED, b"1") == (
        shown["name"], shown["owner"], shown["state"], shown["args"],
    )  # fmt: skip
    (attempt,) = shown["attempts"]
    assert ("n1", ["GPU-1"], "succeeded", 5) == (
        attempt["node"], attempt["gpus"], attempt["outcome"], attempt["run_us"],
    )  # fmt: skip
    assert b"one" == shown["result"]["value"]
    assert {1: shown["body"]} == history.spec_bodies([1])


def test_a_task_without_end_has_no_result(history: History) -> None:
    shown = history.show_task(3)
    assert shown is not None
    assert {} == shown["result"]
    assert {} == history.ended([3, 4])


def test_unknown_tasks_are_left_out(history: History) -> None:
    assert history.show_task(999) is None
    assert {} == history.briefs([999])
    assert {} == history.ended([999])
    assert {} == history.payloads([999])


def test_briefs_tell_the_last_attempt_and_node(history: History) -> None:
    briefs = history.briefs([2, 3, 4])
    assert {2: ("n1", 1), 3: ("n1", 1), 4: ("", 0)} == {
        task: (brief.node, brief.attempt) for task, brief in briefs.items()
    }
    assert ("exit_code", State.FAILED) == (briefs[2].code, briefs[2].state)


def test_the_newest_task_is_the_newest_of_its_owner(catalogue: Catalogue) -> None:
    assert [25, 16, 15, None] == [
        catalogue.last_task(owner) for owner in ("", "ana", "bob", "nobody")
    ]


def test_ended_tasks_are_counted_by_state(catalogue: Catalogue) -> None:
    assert {State.SUCCEEDED: 2, State.FAILED: 3} == catalogue.ended_counts()


def test_many_ids_are_asked_for_in_chunks(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "state")
    most = 2 * CHUNK + 1
    journal.commit(facts.submission(1, most))
    found = journal.history.payloads(range(1, most + 1))
    assert {task: Payload(b"%d" % task) for task in range(1, most + 1)} == found
    journal.close()


def test_a_late_result_marks_the_attempt_that_was_given_up(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "state")
    journal.commit(facts.submission(1))
    journal.commit(facts.granted(1))
    given_up = AttemptEnded(1, 1, "n1", "lost", "", "", 3_000, 0)
    late = AttemptEnded(1, 1, "n1", "superseded", "", "", 4_000, 7)
    elsewhere = late._replace(node="n2", ended_ms=5_000)
    for row in (given_up, elsewhere, late, late._replace(ended_ms=6_000)):
        journal.commit(Commit(ended=[row]))
    shown = journal.history.show_task(1)
    assert shown is not None
    assert [("lost", 4_000)] == [(row["outcome"], row["late_ms"]) for row in shown["attempts"]]
    journal.close()
