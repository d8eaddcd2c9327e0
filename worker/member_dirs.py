"""Where are the files of each call of a batch? What nobody prepared is made as it is asked for."""

from __future__ import annotations

import os
import shutil

from .batches import attempt_key
from .task_dir import RETURNED


class MemberDirs:
    """The directories of the calls of a batch, below the folder that the agent keeps for tasks."""

    def __init__(self, tasks_dir: str) -> None:
        self._tasks_dir = tasks_dir
        self._made: list[str] = []

    def directory_of(self, task: bytes, attempt: int) -> str:
        """Return the directory of a call."""
        folder = f"{self._tasks_dir}/{attempt_key(task, attempt)}"
        if not os.access(folder, os.F_OK):
            os.mkdir(folder, 0o700)  # noqa: PTH102 - a path as text
            self._made.append(folder)
        work = folder + "/work"
        if not os.access(work, os.F_OK):
            os.mkdir(work, 0o700)  # noqa: PTH102 - as above
        return work

    def end_batch(self) -> None:
        """Remove what was made for calls that return no file."""
        for folder in self._made:
            if not os.access(f"{folder}/{RETURNED}", os.F_OK):
                shutil.rmtree(folder, ignore_errors=True)
        self._made.clear()
