"""Does a worker find what was prepared for a call, and go on where nothing is to be found?"""

from __future__ import annotations

from pathlib import Path

import pytest

from remuda.worker.batches import attempt_key
from remuda.worker.task_dir import TaskDir

TASK = b"t" * 16


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Make the node's folder of tasks and a worker's own, one beside the other."""
    tasks, own = tmp_path / "state" / "tasks", tmp_path / "own"
    tasks.mkdir(parents=True)
    own.mkdir()
    return tasks, own


def where(tasks: Path, own: Path, *, prepared: bool) -> str:
    """Look, enter a call, and say in which directory it runs."""
    directory = TaskDir(str(tasks), own, moves=False)
    if prepared:
        (tasks / attempt_key(TASK, 1) / "work").mkdir(parents=True)
    directory.look()
    directory.enter(TASK, 1)
    found = directory._work
    directory.leave()
    return found


def test_a_prepared_call_runs_where_it_was_prepared(folders: tuple[Path, Path]) -> None:
    tasks, own = folders
    wanted = str(tasks / attempt_key(TASK, 1) / "work")
    assert wanted == where(tasks, own, prepared=True)


def test_a_call_for_which_nothing_was_prepared_runs_in_the_workers_own_directory(
    folders: tuple[Path, Path],
) -> None:
    tasks, own = folders
    assert str(own) == where(tasks, own, prepared=False)


def test_a_worker_goes_on_when_the_folder_of_tasks_is_gone(folders: tuple[Path, Path]) -> None:
    tasks, own = folders
    directory = TaskDir(str(tasks), own, moves=False)
    tasks.rmdir()
    directory.look()
    directory.enter(TASK, 1)
    assert str(own) == directory._work
    assert str(own) == where(tasks, own, prepared=False)
