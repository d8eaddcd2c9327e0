"""Is what a host is asked for judged in words, with a remedy?"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from remuda.config import clock_checks, disk_checks, host_checks
from remuda.config.findings import Level

GIB = 1 << 30
PLACE = disk_checks.Place(Path("/x"), "[scheduler] state_dir", GIB, 4 * GIB, "it is full then")


def figures(free_bytes: int, inodes: int = 1) -> Any:
    return SimpleNamespace(f_bavail=free_bytes, f_frsize=1, f_files=10, f_favail=inodes)


@pytest.mark.parametrize(
    ("free_bytes", "level"),
    [(GIB - 1, Level.SERIOUS), (GIB, Level.WARNING), (4 * GIB, Level.FINE)],
)
def test_room_is_judged_by_what_the_daemon_needs(free_bytes: int, level: Level) -> None:
    (found,) = disk_checks.judge_room(PLACE, "ext4", figures(free_bytes))
    assert (level, level is Level.FINE) == (found.level, not found.remedy)


def test_a_disk_without_inodes_is_as_full_as_one_without_bytes() -> None:
    found = list(disk_checks.judge_room(PLACE, "ext4", figures(9 * GIB, inodes=0)))
    assert [Level.FINE, Level.SERIOUS] == [each.level for each in found]


@pytest.mark.parametrize(
    ("sync_ms", "level", "word"),
    [
        (0.001, Level.WARNING, "may lose what it said was kept"),
        (0.5, Level.FINE, "durable"),
        (19.9, Level.FINE, "durable"),
        (20.0, Level.WARNING, "waits that long"),
    ],
)
def test_a_disk_is_named_when_it_is_slow_and_when_it_lies(
    sync_ms: float, level: Level, word: str
) -> None:
    (found,) = disk_checks.judge_syncs(PLACE, sync_ms)
    assert (level, True) == (found.level, word in found.text)


def test_a_folder_is_tried_out_and_nothing_stays_in_it(tmp_path: Path) -> None:
    assert 0 < disk_checks.time_syncs(tmp_path)
    assert [] == list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_serious(tmp_path: Path) -> None:
    place = disk_checks.Place(tmp_path / "none", "[store] state_dir", 0, 0, "")
    (found,) = disk_checks.look_at_disk(place)
    assert (Level.SERIOUS, True) == (found.level, "[store] state_dir" in found.remedy)


@pytest.mark.parametrize(
    ("found", "has_curve", "level"),
    [
        ((4, 3, 5), True, Level.FINE),
        ((4, 3, 2), True, Level.WARNING),
        ((4, 3, 5), False, Level.SERIOUS),
    ],
)
def test_libzmq_needs_curve_and_no_known_holes(
    found: tuple[int, int, int], has_curve: bool, level: Level
) -> None:
    (said,) = host_checks.judge_libzmq(found, has_curve=has_curve)
    assert level is said.level
    assert (level is Level.WARNING) == (f"libzmq {'.'.join(map(str, found))} has" in said.text)


def test_the_curve_of_this_host_is_measured() -> None:
    mib_s = host_checks.curve_mib_s()
    assert 0 < mib_s
    (slow,) = host_checks.judge_curve(1.5)
    assert (Level.WARNING, True) == (slow.level, "2 MiB/s" in slow.text)


@pytest.mark.parametrize(
    ("found", "level"), [((3, 10), Level.SERIOUS), ((3, 11), Level.FINE), ((3, 14), Level.FINE)]
)
def test_a_python_that_is_too_old_is_named(found: tuple[int, int], level: Level) -> None:
    (said,) = host_checks.judge_python(tuple(map(str, found)), "x")
    assert level is said.level


@pytest.mark.parametrize(
    ("found", "level"), [((3, 40, 1), Level.WARNING), ((3, 51, 3), Level.FINE)]
)
def test_a_sqlite_with_the_bug_of_its_log_is_named(found: tuple[int, ...], level: Level) -> None:
    (said,) = host_checks.judge_sqlite(found)
    assert level is said.level


@pytest.mark.parametrize(
    ("state", "level"),
    [(None, Level.WARNING), ((False, 16.0), Level.WARNING), ((True, 0.004), Level.FINE)],
)
def test_a_clock_that_nobody_sets_is_named(state: tuple[bool, float] | None, level: Level) -> None:
    (said,) = clock_checks.judge_kept(state)
    assert level is said.level


def test_the_kernel_answers_what_is_asked_of_its_clock() -> None:
    state = clock_checks.kept_right()
    assert state is None or state[1] >= 0
