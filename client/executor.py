"""How does code that knows `concurrent.futures` run its calls on the cluster?"""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from .task import Task

if TYPE_CHECKING:
    from .submitter import Submitter


class Executor(concurrent.futures.Executor):
    """A `concurrent.futures.Executor`; leaving it waits for what was submitted."""

    def __init__(self, submitter: Submitter) -> None:
        self._submitter = submitter
        self._lock = threading.Lock()
        self._open: set[Task] = set()
        self._closed = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Task:
        """Submit one call."""
        self._check_open()
        task = self._submitter.submit(fn, *args, **kwargs)
        self._keep([task])
        return task

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """Submit one call for each item and return an iterator over the results, in order.

        With `buffersize` items are taken as results are, so that there may be no end of them; a
        `timeout` holds only without. `chunksize` is taken for compatibility: frames carry many
        calls anyway.
        """
        self._check_open()
        if buffersize is not None:
            if timeout is not None:
                raise ValueError("buffersize and timeout do not go together")
            return self._submitter.imap(fn, *iterables, window=buffersize)
        batch = self._submitter.map(fn, *iterables)
        self._keep(batch)
        return batch.results(timeout)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work; wait for what is open, or cancel it first."""
        self._closed = True
        with self._lock:
            still_open = list(self._open)
        if cancel_futures:
            for task in still_open:
                task.cancel()
        if wait:
            concurrent.futures.wait(still_open)

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def _keep(self, tasks: Iterable[Task]) -> None:
        with self._lock:
            self._open.update(tasks)
        for task in tasks:
            task.add_done_callback(self._forget)

    def _forget(self, task: concurrent.futures.Future[Any]) -> None:
        with self._lock:
            self._open.discard(task)
