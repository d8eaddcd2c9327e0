"""How does an event loop wait for what threads do, and for tasks that end elsewhere?"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from .courier import REQUESTS_MAX
from .task import Task

T = TypeVar("T")
_OVER = object()


class Threads:
    """Threads that make the requests of one client: a slow one never holds an event loop up.

    They belong to no loop, so that a client may be used from one loop after the other.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(REQUESTS_MAX, thread_name_prefix="remuda-async")

    async def call(self, verb: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call on a thread; who stops waiting does not stop a call that has begun."""
        return await asyncio.wrap_future(self._pool.submit(verb, *args, **kwargs))

    async def iterate(self, begin: Callable[[], Iterator[T]]) -> AsyncIterator[T]:
        """Take the items of an iterator that blocks; whoever leaves it early closes it."""
        items = await self.call(begin)
        try:
            while True:
                item: Any = await self.call(next, items, _OVER)
                if item is _OVER:
                    return
                yield item
        finally:
            if isinstance(items, Generator):
                with contextlib.suppress(ValueError):  # a thread still waits for its next item
                    await self.call(items.close)

    def close(self) -> None:
        """Wait until the threads have ended."""
        self._pool.shutdown()


class Ends:
    """Hands an event loop the tasks that end, in that order, while it is entered."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._tasks = list(dict.fromkeys(tasks))
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Queue[Future[Any]] = asyncio.Queue()

    def __len__(self) -> int:
        return len(self._tasks)

    def __enter__(self) -> Ends:
        for task in self._tasks:
            task.add_done_callback(self._tell)
        return self

    def __exit__(self, *_: object) -> None:
        for task in self._tasks:
            task.remove_done_callback(self._tell)

    async def next(self, until: float | None = None) -> Future[Any]:
        """Wait for the next end, `until` a time of the loop; raises TimeoutError."""
        async with asyncio.timeout_at(until):
            return await self._ended.get()

    def _tell(self, task: Future[Any]) -> None:
        with contextlib.suppress(RuntimeError):  # that loop was closed: nobody waits there
            self._loop.call_soon_threadsafe(self._ended.put_nowait, task)
