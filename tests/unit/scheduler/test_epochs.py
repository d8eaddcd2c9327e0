"""Do epochs only grow, whatever the clock says, and does a journal put back by hand stay behind?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from remuda.config.home import Home
from remuda.scheduler import offline
from remuda.scheduler.highest_epoch import EPOCH_MAX, FILE, HighestEpoch
from remuda.scheduler.journal import Journal
from remuda.scheduler.restored import EPOCH_STEP

from ...fakes.restorable import Restorable, running


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Restorable]:
    made = Restorable(tmp_path / "state")
    yield made
    made.close()


def test_a_clock_that_was_set_back_before_a_second_restore_gives_higher_numbers_all_the_same(
    world: Restorable,
) -> None:
    world.backup()
    kept = world.kept.read_bytes()
    found = []
    for _ in range(2):
        world.kept.write_bytes(kept)
        world.restore()
        found.append((world.core.epoch, world.core.floors.attempt))
        world.wall_set_ns -= 30 * 86_400 * 1_000_000_000
    assert found[0][0] < found[1][0]
    assert found[0][1] < found[1][1]


def test_a_held_scheduler_goes_on_above_what_a_node_has_seen(world: Restorable) -> None:
    node = world.node("n1")
    task = running(world, node)
    world.backup()
    world.end(node, task)
    world.restore()
    seen = world.core.epoch + 77
    world.journal.highest.see(seen)
    world.restart()
    assert (True, True) == (world.core.epoch > seen, world.core.floors.attempt > seen)
    world.come(node)
    world.decide("rerun", task)
    world.decide("release")
    world.later(1)
    assert [(task, world.core.floors.attempt)] == list(node.held)
    released_at = world.core.epoch
    world.restart()
    assert released_at + 1 == world.core.epoch


def test_a_journal_that_was_put_back_by_hand_stays_below_what_nodes_have_seen(
    tmp_path: Path,
) -> None:
    journal = Journal.open(tmp_path)
    journal.highest.see(1_000)
    assert 1 == journal.next_epoch()
    journal.close()


def test_an_epoch_of_which_no_revisions_can_be_made_is_not_kept(tmp_path: Path) -> None:
    highest = HighestEpoch(tmp_path)
    highest.see(EPOCH_MAX + 1)
    highest.see(7)
    assert (7, 7) == (highest.epoch, HighestEpoch(tmp_path).epoch)


def test_a_file_of_the_highest_epoch_that_cannot_be_read_is_as_none(tmp_path: Path) -> None:
    for text in ("", "many", "-3", "9" * 60):
        (tmp_path / FILE).write_text(text)
        assert 0 == HighestEpoch(tmp_path).epoch


# --- by `remuda restore` -------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a home with a journal of epoch 1, and a backup of it beside."""
    made = Home(tmp_path / "home")
    made.create()
    made.key_file("scheduler").write_text("secret key")
    start(made)
    assert 0 == run(made, "backup", str(tmp_path / "b.tar"))
    return made


def run(home: Home, verb: str, *words: str) -> int:
    return offline.main([verb, *words, "--home", str(home.root)])


def start(home: Home) -> int:
    """Return the epoch of a scheduler that starts and stops."""
    journal = Journal.open(home.scheduler_dir)
    epoch = journal.next_epoch()
    journal.close()
    return epoch


def test_a_restore_goes_on_above_what_its_directory_has_seen(home: Home) -> None:
    far = 1 << 30
    HighestEpoch(home.scheduler_dir).see(far)
    assert 0 == run(home, "restore", str(home.root.parent / "b.tar"), "--force")
    assert far + EPOCH_STEP < start(home)


def test_a_backup_of_a_scheduler_that_started_since_does_not_simply_go_on(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 2 == start(home)
    assert 1 == run(home, "restore", str(home.root.parent / "b.tar"), "--continue", "--force")
    assert "the scheduler started since this backup was made" in capsys.readouterr().err
    assert 3 == start(home)
