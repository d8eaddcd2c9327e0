"""Is it known of each batch where its tasks stand, which failed first, and how fast they end?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from remuda.protocol import ids
from remuda.protocol import messages as m
from remuda.protocol.errors import Invalid, NotFound
from remuda.scheduler import batch_history, batch_queries, batches
from remuda.scheduler.access import Principal, Role
from remuda.scheduler.batches import ENDS_KEPT, Ends, Tally

from ...fakes.world import SimNode, World

ANA, BOB = Principal("ana", Role.SUBMIT), Principal("bob", Role.SUBMIT)
EYE, ROOT = Principal("eye", Role.VIEWER), Principal("root", Role.OPERATOR)
ONE, TWO, THREE = (ids.new_id(1_700_000_000_000 + number, number) for number in (1, 2, 3))
FAILED = m.Outcome.FAILED


class Told(World):
    """A world that is asked about batches."""

    def show(self, batch: int, start: int = 0, who: Principal = ROOT) -> dict[str, Any]:
        message = m.ShowBatch(ids.to_bytes(batch), start)
        return batch_queries.show_batch(self._view(), message, who, self.now).body

    def list(self, who: Principal = ROOT, **asked: Any) -> m.Page:
        return batch_queries.list_batches(self._view(), m.ListBatches(**asked), who, self.now)

    def listed(self, who: Principal = ROOT, **asked: Any) -> list[int]:
        return [ids.from_bytes(row["id"]) for row in self.list(who, **asked).rows]

    def run(self, node: SimNode, count: int, outcome: m.Outcome = m.Outcome.SUCCEEDED) -> None:
        """End so many of the tasks that a node holds, one in each second."""
        for _ in range(count):
            self.later(1)
            self.end(node, next(iter(node.held))[0], outcome)

    def _view(self) -> Any:
        journal = self.journal
        return SimpleNamespace(core=self.core, history=journal.history, batches=journal.batches)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Told]:
    made = Told(tmp_path / "state")
    yield made
    made.close()


def test_members_are_counted_where_they_stand(world: Told) -> None:
    node = world.node("n1", cpus=1)
    world.submit(5, batch=ONE, argv=["render", "{}"])
    world.run(node, 2)
    world.run(node, 1, FAILED)
    shown = world.show(ONE)
    assert {"queued": 1, "assigned": 1, "succeeded": 2, "failed": 1} == shown["counts"]
    assert (5, 2, "ana", "render {}") == tuple(
        shown[key] for key in ("total", "open", "owner", "name")
    )


def test_the_pace_and_the_time_left_follow_from_what_ended_of_late(world: Told) -> None:
    node = world.node("n1", cpus=1)
    world.submit(10, batch=ONE)
    assert (None, None) == (world.show(ONE)["rate"], world.show(ONE)["eta_s"])
    world.run(node, 5)
    world.later(1)
    shown = world.show(ONE)
    assert (1.0, 5.0) == (pytest.approx(shown["rate"], 0.3), pytest.approx(shown["eta_s"], 0.3))


def test_a_batch_that_stands_still_gets_slower(world: Told) -> None:
    node = world.node("n1", cpus=1)
    world.submit(10, batch=ONE)
    world.run(node, 5)
    before = world.show(ONE)["rate"]
    world.later(20)
    assert world.show(ONE)["rate"] < before / 3


def test_a_batch_that_has_ended_has_no_pace(world: Told) -> None:
    node = world.node("n1", cpus=1)
    world.submit(3, batch=ONE)
    world.run(node, 3)
    assert (None, None, 0) == tuple(world.show(ONE)[key] for key in ("rate", "eta_s", "open"))


def test_the_first_failures_are_told_with_what_they_said(world: Told) -> None:
    node = world.node("n1", cpus=1)
    tasks = world.submit(3, batch=ONE)
    world.run(node, 1)
    world.run(node, 1, FAILED)
    (row,) = world.show(ONE)["failures"]
    assert (tasks[1], "exit_code", "it broke") == (
        ids.from_bytes(row["id"]), row["code"], row["message"],
    )  # fmt: skip


def test_a_viewer_hears_of_a_failure_but_not_what_it_said(world: Told) -> None:
    node = world.node("n1", cpus=1)
    world.submit(1, batch=ONE)
    world.run(node, 1, FAILED)
    (row,) = world.show(ONE, who=EYE)["failures"]
    assert ("exit_code", False) == (row["code"], "message" in row)


def test_only_so_many_failures_are_kept(world: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "FAILURES_KEPT", 2)
    node = world.node("n1", cpus=1)
    tasks = world.submit(4, batch=ONE)
    world.run(node, 3, FAILED)
    failures = [ids.from_bytes(row["id"]) for row in world.show(ONE)["failures"]]
    assert (tasks[:2], 3) == (failures, world.show(ONE)["counts"]["failed"])


def test_a_start_forgets_no_member(world: Told) -> None:
    node = world.node("n1", cpus=1)
    tasks = world.submit(6, batch=ONE)
    world.run(node, 2)
    world.run(node, 1, FAILED)
    before = world.show(ONE)
    world.restart()
    after = world.show(ONE)
    assert (before["counts"], [tasks[2]]) == (
        after["counts"], [ids.from_bytes(row["id"]) for row in after["failures"]],
    )  # fmt: skip


def test_what_ended_long_ago_is_counted_in_slices(
    world: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_queries, "SLICE_MEMBERS", 2)
    node = world.node("n1", cpus=1)
    world.submit(3, batch=ONE)
    world.submit(2, batch=ONE, offset=3)
    world.run(node, 4)
    world.run(node, 1, FAILED)
    world.restart()
    slices = [world.show(ONE, start) for start in (0, 2, 4)]
    assert [2, 4, 0] == [each["next"] for each in slices]
    assert [{"succeeded": 2}, {"succeeded": 2}, {"failed": 1}] == [
        each["counts"] for each in slices
    ]
    assert [0, 0, 1] == [len(each["failures"]) for each in slices]


def test_a_batch_whose_beginning_was_forgotten_is_counted_from_the_journal(
    world: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "ENDED_KEPT_MAX", 0)
    node = world.node("n1", cpus=1)
    world.submit(2, batch=ONE)
    world.run(node, 2)
    world.submit(3, batch=ONE, offset=2)
    shown = world.show(ONE)
    assert ({"succeeded": 2, "assigned": 1, "queued": 2}, 0) == (shown["counts"], shown["next"])


def test_of_batches_that_have_ended_the_latest_are_kept(
    world: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "ENDED_KEPT_MAX", 1)
    node = world.node("n1", cpus=1)
    for batch in (ONE, TWO):
        world.submit(1, batch=batch)
        world.run(node, 1)
    world.submit(1, batch=THREE)
    assert [False, True, True] == [
        world.core.batches.get(batch) is not None for batch in (ONE, TWO, THREE)
    ]
    assert {"succeeded": 1} == world.show(ONE)["counts"]


def test_a_batch_of_another_user_is_not_there(world: Told) -> None:
    world.submit(1, batch=ONE)
    with pytest.raises(NotFound):
        world.show(ONE, who=BOB)


@pytest.mark.parametrize("start", [-1, 2])
def test_a_slice_that_does_not_exist_is_refused(world: Told, start: int) -> None:
    world.submit(1, batch=ONE)
    with pytest.raises(Invalid, match="start"):
        world.show(ONE, start)


def test_batches_are_listed_from_the_newest_on_in_pages(world: Told) -> None:
    for batch, owner in ((ONE, "ana"), (TWO, "bob"), (THREE, "ana")):
        world.submit(2, batch=batch, owner=owner)
    first = world.list(limit=2)
    assert ([THREE, TWO], [ONE]) == (
        [ids.from_bytes(row["id"]) for row in first.rows],
        world.listed(cursor=first.cursor),
    )
    assert {"queued": 2} == first.rows[0]["counts"]


def test_who_submits_sees_batches_of_its_own(world: Told) -> None:
    for batch, owner in ((ONE, "ana"), (TWO, "bob")):
        world.submit(1, batch=batch, owner=owner)
    assert ([ONE], [ONE], [TWO]) == (
        world.listed(ANA), world.listed(ANA, owner="bob"), world.listed(owner="bob"),
    )  # fmt: skip


def test_active_batches_have_open_tasks(world: Told) -> None:
    node = world.node("n1", cpus=1)
    world.submit(1, batch=ONE)
    world.run(node, 1)
    for batch in (TWO, THREE):
        world.submit(1, batch=batch)
    page = world.list(active=True, limit=1)
    assert ([THREE], [TWO], []) == (
        [ids.from_bytes(row["id"]) for row in page.rows],
        world.listed(active=True, limit=1, cursor=page.cursor),
        world.listed(active=True, owner="bob"),
    )


def test_a_page_leaves_uncounted_what_would_take_long(
    world: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_queries, "PAGE_MEMBERS_MAX", 3)
    node = world.node("n1", cpus=1)
    for batch in (ONE, TWO):
        world.submit(2, batch=batch)
        world.run(node, 2)
    world.restart()
    newest, oldest = world.list().rows
    assert ({"succeeded": 2}, False) == (newest["counts"], "counts" in oldest)


def test_a_search_for_the_batches_of_one_stops_somewhere(
    world: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_history, "SEARCHED_MAX", 1)
    for batch, owner in ((ONE, "ana"), (TWO, "bob")):
        world.submit(1, batch=batch, owner=owner)
    page = world.list(owner="ana")
    assert ([], [ONE]) == (page.rows, world.listed(owner="ana", cursor=page.cursor))


@pytest.mark.parametrize("cursor", ["x", "1", "01ARZ3NDEKTSV4RRFFQ69G5FA"])
def test_a_cursor_that_is_none_is_refused(world: Told, cursor: str) -> None:
    with pytest.raises(Invalid, match="cursor"):
        world.list(cursor=cursor)


def test_the_pace_looks_back_over_so_many_seconds_with_an_end() -> None:
    tally = Tally("ana", is_whole=True)
    for second in range(0, 10 * ENDS_KEPT, 10):
        tally.ends.append(Ends(1_000 + second, 5))
    tally.ends.append(Ends(1_000 + 10 * ENDS_KEPT, 5))
    assert 0.5 == pytest.approx(tally.rate((1_001 + 10 * ENDS_KEPT) * 1_000), 0.02)


def test_a_clock_that_is_set_back_makes_no_pace_of_nonsense() -> None:
    tally = Tally("ana", is_whole=True)
    tally.ends.extend([Ends(2_000, 5), Ends(1_000, 5)])
    rate = tally.rate(1_000_500)
    assert rate is not None
    assert 0 <= rate <= 5
