"""What does a program with an event loop hold of tasks: something to await, with an id."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Sequence
from typing import Any, overload

from .batch import Batch
from .bridge import Ends, Threads
from .reach import AsyncReachable
from .received import is_far
from .task import Task


class AsyncTask(AsyncReachable):
    """A task to await: `await task` gives its value or raises as `Task.result` does.

    To stop waiting (`asyncio.wait_for`, a cancelled asyncio task) leaves the task running;
    `cancel()` stops it, and whoever awaits it then gets TaskCancelled. `sync` is the future of
    the threads' client, with all that is known of the task.
    """

    def __init__(self, threads: Threads, sync: Task) -> None:
        self._threads = threads
        self.sync = sync

    @property
    def id(self) -> str:
        """Return the id as people write it."""
        return self.sync.id

    @property
    def state(self) -> str:
        """Return where the task stood when it was last heard of."""
        return self.sync.state

    @property
    def progress(self) -> tuple[float, str]:
        """Return the fraction that is done and what the task said of it, as last heard."""
        return self.sync.progress

    def done(self) -> bool:
        """Tell whether the task has ended."""
        return self.sync.done()

    def __await__(self) -> Generator[Any, None, Any]:
        return self._value().__await__()

    async def result(self, timeout: float | None = None) -> Any:
        """Wait for the end and return the value; raises as `Task.result` does."""
        await self._end(timeout)
        if is_far(self.sync.standing.value):
            return await self._threads.call(self.sync.result, 0)
        return self.sync.result(0)

    async def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end and return its error, None after a success; raises TaskCancelled."""
        await self._end(timeout)
        return self.sync.exception(0)

    async def cancel(self, grace_s: float | None = None) -> bool:
        """Ask the scheduler to stop the task, running or not; True once that is accepted."""
        return await self._threads.call(self.sync.cancel, grace_s)

    async def refresh(self) -> AsyncTask:
        """Ask how the task stands and how far it is."""
        await self._threads.call(self.sync.refresh)
        return self

    async def explain(self) -> dict[str, Any]:
        """Ask why the task is where it is."""
        return await self._threads.call(self.sync.explain)

    def logs(
        self, *, stream: str = "out", follow: bool = False, attempt: int = 0
    ) -> AsyncIterator[str]:
        """Yield what the task printed as text; with `follow` until it ends, over its retries."""
        return self._threads.iterate(
            lambda: self.sync.logs(stream=stream, follow=follow, attempt=attempt)
        )

    def __repr__(self) -> str:
        return f"<AsyncTask {self.id} {self.state}>"

    async def _value(self) -> Any:
        return await self.result()

    async def _end(self, timeout: float | None) -> None:
        until = None if timeout is None else asyncio.get_running_loop().time() + timeout
        if not self.sync.done():
            with Ends([self.sync]) as ends:
                await ends.next(until)


class AsyncBatch(Sequence[AsyncTask]):
    """The tasks of a batch, in order; member `i` has the id `ID.i`."""

    def __init__(self, threads: Threads, sync: Batch) -> None:
        self._threads = threads
        self._tasks = [AsyncTask(threads, task) for task in sync]
        self.sync = sync

    @property
    def id(self) -> str:
        """Return the id of the batch; empty when nothing was submitted."""
        return self.sync.id

    @property
    def counts(self) -> dict[str, int]:
        """Count the members by the state in which they were last heard of."""
        return self.sync.counts

    async def results(self, timeout: float | None = None) -> AsyncIterator[Any]:
        """Yield each result in order, waiting for it; raises like `Task.result`."""
        loop = asyncio.get_running_loop()
        until = None if timeout is None else loop.time() + timeout
        for task in self._tasks:
            yield await task.result(None if until is None else max(0.0, until - loop.time()))

    async def cancel(self, grace_s: float | None = None) -> int:
        """Cancel every member that has not ended; returns how many that were."""
        return await self._threads.call(self.sync.cancel, grace_s)

    @overload
    def __getitem__(self, index: int) -> AsyncTask: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[AsyncTask]: ...
    def __getitem__(self, index: int | slice) -> AsyncTask | Sequence[AsyncTask]:
        return self._tasks[index]

    def __len__(self) -> int:
        return len(self._tasks)

    def __repr__(self) -> str:
        return f"<AsyncBatch {self.id or 'empty'} {self.counts}>"
