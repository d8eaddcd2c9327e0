"""Where do users' done-callbacks run? On a thread of their own, so that they may wait and ask."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence

from .task import Task, run_callbacks


class Callbacks:
    """A thread that starts with the first callback. What waits for it is bounded by open tasks."""

    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def run(self, tasks: Sequence[Task]) -> None:
        """Run the callbacks of tasks that ended; called from one thread only."""
        if tasks and self._thread is None:
            self._thread = threading.Thread(
                target=_run, args=(self._tasks,), name="remuda-callbacks", daemon=True
            )
            self._thread.start()
        for task in tasks:
            self._tasks.put(task)

    def close(self) -> None:
        """Let what waits run, then end."""
        self._tasks.put(None)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()


def _run(tasks: queue.SimpleQueue[Task | None]) -> None:
    while (task := tasks.get()) is not None:
        run_callbacks(task)
