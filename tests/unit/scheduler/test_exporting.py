"""Is each task exported once with all its tries, and nothing that its reader may not see?"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from remuda.protocol import codec, ids
from remuda.protocol import messages as m
from remuda.protocol.errors import Invalid
from remuda.scheduler import exporting
from remuda.scheduler.access import Principal, Role
from remuda.scheduler.catalogue import SLICE_MAX, Catalogue
from remuda.scheduler.events import Now
from remuda.scheduler.exporting import export_tasks
from remuda.scheduler.history import History
from remuda.scheduler.journal import Journal
from remuda.scheduler.records import AttemptEnded, Commit
from remuda.scheduler.task import State

from . import facts

VERA, ANA = Principal("vera", Role.VIEWER), Principal("ana", Role.SUBMIT)


@dataclass
class SightedCore:
    next_number: int
    tasks: dict[int, Any] = field(default_factory=dict)


class Sight:
    """The part of a view that an export looks at."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.core = SightedCore(1_000)

    @property
    def history(self) -> History:
        return self.journal.history

    @property
    def catalogue(self) -> Catalogue:
        return self.journal.catalogue

    def ask(self, cursor: str = "", who: Principal = VERA, **filters: Any) -> dict[str, Any]:
        message = m.ExportTasks(filters, cursor)
        return export_tasks(self, message, who, Now(1, 1)).body  # type: ignore[arg-type]  # what it looks at

    def all(self, who: Principal = VERA, **filters: Any) -> list[dict[str, Any]]:
        rows, cursor = [], ""
        while True:
            body = self.ask(cursor, who, **filters)
            rows += body["rows"]
            cursor = body["cursor"]
            if not cursor:
                return rows

    def numbers(self, who: Principal = VERA, **filters: Any) -> list[int]:
        return [row["number"] for row in self.all(who, **filters)]


@pytest.fixture(scope="module")
def sight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sight]:
    """Yield a history: four tasks of ana, three of bob in a batch, the last two still open."""
    journal = Journal.open(tmp_path_factory.mktemp("export") / "state")
    journal.commit(facts.submission(1, 4, name="train", tags={"team": "a"}, vram_bytes=1 << 30))
    journal.commit(
        facts.submission(5, 3, owner="bob", created_ms=9_000, batch=4, batch_key=b"k" * 16)
    )
    for task in (1, 2, 3, 5):
        journal.commit(facts.granted(task, 1, "n1", "GPU-1"))
    journal.commit(facts.ended(1, value=b"secret value"))
    again = AttemptEnded(2, 1, "n1", "failed", "exit_code", "exit code 3", 2_500, 1_500_000, 77)
    journal.commit(Commit(ended=[again]))
    journal.commit(facts.granted(2, 2, "n2", "GPU-2"))
    journal.commit(facts.ended(2, State.FAILED, number=2, node="n2", ended_ms=4_000))
    journal.commit(facts.ended(5, ended_ms=20_000))
    yield Sight(journal)
    journal.close()


def test_tasks_come_in_the_order_of_their_numbers_each_once(sight: Sight) -> None:
    assert [1, 2, 3, 4, 5, 6, 7] == sight.numbers()


def test_a_task_has_the_story_of_its_tries_and_no_payload(sight: Sight) -> None:
    row = sight.all()[1]
    assert ("failed", "true", "cpus=1 vram=1GiB", 50) == tuple(
        row[name] for name in ("state", "command", "asked", "priority")
    )
    first, second = row["attempts"]
    assert (1, "n1", ["GPU-1"], "exit code 3", 1_500_000, 77, 1 << 30) == tuple(
        first[name]
        for name in (
            "number", "node", "gpus", "message", "run_us", "vram_peak_bytes", "vram_bytes",
        )
    )  # fmt: skip
    assert (2, "n2", "failed") == (second["number"], second["node"], second["outcome"])
    assert "secret value" not in str(sight.all())


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"owner": "bob"}, [5, 6, 7]),
        ({"states": ["succeeded"]}, [1, 5]),
        ({"states": ["failed", "queued"]}, [2, 3, 4, 6, 7]),
        ({"active": True}, [3, 4, 6, 7]),
        ({"node": "n2"}, [2]),
        ({"name": "train"}, [1, 2, 3, 4]),
        ({"tags": {"team": "a"}}, [1, 2, 3, 4]),
        ({"tags": {"team": "b"}}, []),
        ({"batch": ids.to_bytes(4)}, [5, 6, 7]),
        ({"since_ms": 5_000}, [5, 6, 7]),
        ({"until_ms": 5_000}, [1, 2, 3, 4]),
        ({"ended_since_ms": 4_000}, [2, 5]),
        ({"ended_since_ms": 3_500, "ended_until_ms": 5_000}, [2]),
        ({"ended_until_ms": 10_000}, [1, 2]),
    ],
)
def test_filters_narrow_what_is_exported(sight: Sight, filters, expected) -> None:
    assert expected == sight.numbers(**filters)


def test_who_may_only_submit_exports_his_own(sight: Sight) -> None:
    assert [1, 2, 3, 4] == sight.numbers(ANA)
    assert [1, 2, 3, 4] == sight.numbers(ANA, owner="bob")


def test_what_is_submitted_meanwhile_is_left_to_the_next_export(sight: Sight) -> None:
    sight.core.next_number = 4
    assert [1, 2, 3] == sight.numbers()
    sight.core.next_number = 1_000


def test_slices_are_bounded_by_rows_and_by_bytes(sight: Sight, monkeypatch) -> None:
    monkeypatch.setattr(exporting, "ROWS_MAX", 2)
    assert [1, 2] == [row["number"] for row in sight.ask()["rows"]]
    assert [1, 2, 3, 4, 5, 6, 7] == sight.numbers()
    monkeypatch.setattr(exporting, "ROWS_MAX", 150)
    monkeypatch.setattr(exporting, "BYTES_MAX", 1)
    assert [1] == [row["number"] for row in sight.ask()["rows"]]
    assert [1, 2, 3, 4, 5, 6, 7] == sight.numbers()


def test_the_largest_slice_fits_into_a_frame(tmp_path: Path, monkeypatch) -> None:
    journal = Journal.open(tmp_path / "state")
    tags = {f"tag-{n}": "é" * 100 for n in range(20)}
    journal.commit(facts.submission(1, 400, name="é" * 128, tags=tags))
    for task in range(1, 401):
        journal.commit(facts.granted(task, 1, "n1", *(f"GPU-{n}" for n in range(8))))
        ended = AttemptEnded(task, 1, "n1", "failed", "exit_code", "é" * 5_000, 3_000, 5)
        journal.commit(Commit(ended=[ended]))
    sight = Sight(journal)
    frame = codec.encode(m.Document(sight.ask()), 1)
    assert 2 * exporting.BYTES_MAX > len(frame)
    assert list(range(1, 401)) == sight.numbers()
    journal.close()


def test_a_rare_filter_costs_several_short_questions(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "state")
    for first in range(1, 2 * SLICE_MAX, 1_000):
        journal.commit(facts.submission(first, 1_000))
    journal.commit(facts.submission(2 * SLICE_MAX + 1, owner="eve"))
    sight = Sight(journal)
    sight.core.next_number = 1 << 40  # a restore jumps far ahead
    first = sight.ask(owner="eve")
    assert ([], SLICE_MAX) == (first["rows"], first["at"])
    assert [2 * SLICE_MAX + 1] == sight.numbers(owner="eve")
    journal.close()


@pytest.mark.parametrize("cursor", ["x", "1", "1.2.3", "-1.5", "9" * 19 + ".1"])
def test_a_cursor_of_no_slice_is_refused(sight: Sight, cursor: str) -> None:
    with pytest.raises(Invalid, match="cursor: give back"):
        sight.ask(cursor)


@pytest.mark.parametrize(
    "filters", [{"since_ms": "1d"}, {"until_ms": -1}, {"ended_since_ms": 1 << 70}, {"older": 3}]
)
def test_filters_that_are_none_are_refused_by_name(sight: Sight, filters) -> None:
    (name,) = filters
    with pytest.raises(Invalid, match=f"filters.{name}"):
        sight.ask(**filters)
