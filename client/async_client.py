"""What does a program with an event loop hold of a cluster: the verbs of Client, to be awaited.

Each verb is that of the threads' client, called on a thread; only waiting is done otherwise, so
that thousands of awaited tasks cost no thread at all.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .async_config import AsyncConfig
from .async_task import AsyncBatch, AsyncTask
from .awaited import awaited, plain
from .batch_verbs import Function
from .bridge import Ends, Threads
from .client import Client
from .completed import completed_run
from .each_node import NodeRun
from .feed import LIMIT, Event
from .outcome import CompletedTask
from .submitter import Submitter
from .task import Task


def _tasks(threads: Threads, tasks: Iterable[Task]) -> list[AsyncTask]:
    return [AsyncTask(threads, task) for task in tasks]


class AsyncSubmitter:
    """Submits functions, handlers and commands, all with the same options."""

    def __init__(self, threads: Threads, sync: Submitter) -> None:
        self._threads = threads
        self._sync = sync

    submit = awaited(Submitter.submit, AsyncTask)
    map = awaited(Submitter.map, AsyncBatch)
    submit_many = awaited(Submitter.submit_many, _tasks)
    submit_command = awaited(Submitter.submit_command, AsyncTask)
    submit_array = awaited(Submitter.submit_array, AsyncBatch)
    submit_each = awaited(Submitter.submit_each, AsyncBatch)
    submit_each_node = awaited(Submitter.submit_each_node, AsyncBatch)

    def options(self, **options: object) -> AsyncSubmitter:
        """Return a submitter with these options laid over ours, checked at once."""
        return AsyncSubmitter(self._threads, self._sync.options(**options))

    async def call(self, function: Function, /, *args: Any, **kwargs: Any) -> Any:
        """Submit one call and wait for its value."""
        return await (await self.submit(function, *args, **kwargs))

    async def run(
        self, argv: Sequence[str | os.PathLike[str]], *, check: bool = False, **options: object
    ) -> CompletedTask:
        """Run a command to its end; see `Client.run`."""
        task = await self.submit_command(argv, **options)
        with Ends([task.sync]) as ends:
            await ends.next()
        return await self._threads.call(completed_run, task.sync, check=check)

    def imap(
        self,
        function: Function,
        /,
        *iterables: Iterable[Any],
        window: int | None = None,
        return_exceptions: bool = False,
    ) -> AsyncIterator[Any]:
        """Yield the result of each call in order; see `Client.imap`."""
        return self._threads.iterate(
            lambda: self._sync.imap(
                function, *iterables, window=window, return_exceptions=return_exceptions
            )
        )

    def imap_unordered(
        self,
        function: Function,
        /,
        *iterables: Iterable[Any],
        window: int | None = None,
        return_exceptions: bool = False,
    ) -> AsyncIterator[Any]:
        """Yield results as the calls end; see `Client.imap`."""
        return self._threads.iterate(
            lambda: self._sync.imap_unordered(
                function, *iterables, window=window, return_exceptions=return_exceptions
            )
        )

    async def run_each_node(
        self, argv: Sequence[str | os.PathLike[str]], *, check: bool = False, **options: object
    ) -> list[NodeRun]:
        """Run a command once on every ready node; see `Client.run_each_node`."""
        batch = await self._threads.call(self._sync.submit_each_node, argv, **options)
        with Ends(batch) as ends:
            for _ in range(len(ends)):
                await ends.next()
        return await self._threads.call(batch.gather, check=check)


class AsyncClient(AsyncSubmitter):
    """A cluster, found as `Client` finds it, for programs with an event loop.

    Use it from one loop at a time; another loop may follow. Leaving it neither waits nor cancels.
    A verb that is cancelled while it waits for its answer may still happen: `once` makes a
    submission safe to repeat.
    """

    _sync: Client

    def __init__(
        self,
        home: str | os.PathLike[str] | None = None,
        *,
        cluster: str | None = None,
        endpoint: str | None = None,
        request_timeout_s: float | None = None,
        redis: str | None = None,
    ) -> None:
        client = Client(
            home,
            cluster=cluster,
            endpoint=endpoint,
            request_timeout_s=request_timeout_s,
            redis=redis,
        )
        super().__init__(Threads(), client)

    task = awaited(Client.task, AsyncTask)
    tasks = awaited(Client.tasks, _tasks)
    batch = awaited(Client.batch, AsyncBatch)
    nodes = awaited(Client.nodes, plain)
    gpus = awaited(Client.gpus, plain)
    stats = awaited(Client.stats, plain)
    cordon_gpu = awaited(Client.cordon_gpu, plain)
    uncordon_gpu = awaited(Client.uncordon_gpu, plain)
    handlers = awaited(Client.handlers, plain)
    disable_handler = awaited(Client.disable_handler, plain)
    enable_handler = awaited(Client.enable_handler, plain)
    reload_handler = awaited(Client.reload_handler, plain)
    status = awaited(Client.status, plain)
    drain = awaited(Client.drain, plain)
    undrain = awaited(Client.undrain, plain)
    declare_lost = awaited(Client.declare_lost, plain)
    forget_node = awaited(Client.forget_node, plain)
    cached_states = awaited(Client.cached_states, plain)

    @property
    def config(self) -> AsyncConfig:
        """Return what looks at the configuration, and changes it."""
        return AsyncConfig(self._threads, self._sync.config)

    @property
    def name(self) -> str:
        """Return the name of the cluster."""
        return self._sync.name

    async def prune(
        self,
        tasks: Iterable[AsyncTask] = (),
        *,
        states: Sequence[str] = (),
        owner: str = "",
        node: str = "",
        name: str = "",
        tags: Mapping[str, str] | None = None,
        older: object = None,
    ) -> int:
        """Remove ended tasks with their results; see `Client.prune`."""
        return await self._threads.call(
            self._sync.prune,
            [task.sync for task in tasks],
            states=states,
            owner=owner,
            node=node,
            name=name,
            tags=tags,
            older=older,
        )

    async def get(
        self,
        task: AsyncTask | AsyncBatch,
        names: Sequence[str] = (),
        *,
        to: str | os.PathLike[str] = ".",
        force: bool = False,
    ) -> list[Path]:
        """Bring the files of a task or a batch into a folder; see `Client.get`."""
        return await self._threads.call(self._sync.get, task.sync, names, to=to, force=force)

    def events(
        self,
        *,
        follow: bool = False,
        since: object = None,
        node: str = "",
        task: AsyncTask | None = None,
        kind: str | Sequence[str] = (),
        limit: int = LIMIT,
    ) -> AsyncIterator[Event]:
        """Yield the newest events, oldest first; with `follow` go on: see `Client.events`."""
        sync = None if task is None else task.sync
        return self._threads.iterate(
            lambda: self._sync.events(
                follow=follow, since=since, node=node, task=sync, kind=kind, limit=limit
            )
        )

    def export_tasks(
        self, *, batch: AsyncBatch | None = None, **filters: Any
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield a document for each task with all its tries; see `Client.export_tasks`."""
        sync = None if batch is None else batch.sync
        return self._threads.iterate(lambda: self._sync.export_tasks(batch=sync, **filters))

    async def as_completed(
        self, tasks: Iterable[AsyncTask], timeout: float | None = None
    ) -> AsyncIterator[AsyncTask]:
        """Yield tasks as they end; raises TimeoutError."""
        until = None if timeout is None else asyncio.get_running_loop().time() + timeout
        ours: dict[Any, AsyncTask] = {task.sync: task for task in tasks}
        with Ends(ours) as ends:
            for _ in range(len(ends)):
                yield ours[await ends.next(until)]

    async def wait(
        self,
        tasks: Iterable[AsyncTask],
        timeout: float | None = None,
        return_when: str = concurrent.futures.ALL_COMPLETED,
    ) -> tuple[set[AsyncTask], set[AsyncTask]]:
        """Wait like `asyncio.wait`: returns what is done and what is not."""
        until = None if timeout is None else asyncio.get_running_loop().time() + timeout
        known = set(tasks)
        with Ends(task.sync for task in known) as ends:
            try:
                for _ in range(len(ends)):
                    if _is_enough(await ends.next(until), return_when):
                        break
            except TimeoutError:
                pass  # what is not done is told
        done = {task for task in known if task.done()}
        return done, known - done

    async def close(self) -> None:
        """Hang up; tasks go on, and `task(id)` of another client finds them again."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._sync.close()
        self._threads.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _is_enough(ended: concurrent.futures.Future[Any], return_when: str) -> bool:
    if return_when == concurrent.futures.FIRST_EXCEPTION:
        return not ended.cancelled() and ended.exception(0) is not None
    return return_when == concurrent.futures.FIRST_COMPLETED
