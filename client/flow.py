"""How do calls flow: an iterable without end in, results out, and a bounded number between?

One thread takes items, another sends them: what has gathered meanwhile is the next frame, so that
neither a slow iterable nor a slow scheduler holds the other up.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from ..protocol.errors import RemudaError
from ..protocol.messages import Submit
from . import control
from .shipment import Shipment, name_objects, renew_claims
from .stream import Chunk, Row, Spec, chunks
from .task import Task
from .when_full import Patience, settle

if TYPE_CHECKING:
    from .session import Session

MEMBERS_MAX = 900_000_000
"""Of one batch; an id has nine digits for a member. After so many another one begins."""


class _Stopped(Exception):  # noqa: N818 - not an error
    """Whoever took the results has gone."""


class _End:
    """The end of the iterable, or what went wrong with it."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class Flow:
    """One stream of calls of a function; entered, it takes items until it is left.

    `window` bounds the items that were taken and whose results were not.
    """

    def __init__(
        self,
        session: Session,
        spec: Callable[[], Spec],
        calls: Iterable[tuple[Any, ...]],
        *,
        window: int,
        patience: Patience,
        allow_infeasible: bool,
    ) -> None:
        self._session = session
        self._depot = session.connection.depot
        self._spec = spec
        self._calls = calls
        self._patience = patience
        self._allow_infeasible = allow_infeasible
        self._frame_tasks = min(session.connection.table.map_frame_tasks, window)
        self._free = threading.Semaphore(window)
        self._taken: queue.SimpleQueue[tuple[Any, ...] | _End] = queue.SimpleQueue()
        self._open: dict[Task, None] = {}
        self._stop = threading.Event()
        self._batch_key = b""
        self._sent = MEMBERS_MAX
        self._on_stored: Callable[[Task], None]
        self._on_end: Callable[[_End], None]

    def in_order(self) -> Iterator[Task]:
        """Yield the tasks in the order of their items, each once it has ended."""
        stored: queue.SimpleQueue[Task | _End] = queue.SimpleQueue()
        with self._running(stored.put, stored.put):
            while isinstance(item := stored.get(), Task):
                with contextlib.suppress(Exception):
                    item.exception()  # only waits: what became of it is for whoever gets it
                yield self._taken_off(item)
            if item.error is not None:
                raise item.error

    def as_they_end(self) -> Iterator[Task]:
        """Yield the tasks in the order in which they end."""
        ended: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def on_stored(task: Task) -> None:
            task.add_done_callback(ended.put)

        with self._running(on_stored, ended.put):
            is_over = False
            while not is_over or self._open:
                item = ended.get()
                if isinstance(item, Task):
                    yield self._taken_off(item)
                elif item.error is not None:
                    raise item.error
                else:
                    is_over = True

    def _taken_off(self, task: Task) -> Task:
        del self._open[task]
        self._free.release()
        return task

    @contextlib.contextmanager
    def _running(
        self, on_stored: Callable[[Task], None], on_end: Callable[[_End], None]
    ) -> Iterator[None]:
        """Take and send items meanwhile; what is open at the end is cancelled."""
        self._on_stored, self._on_end = on_stored, on_end
        taker = threading.Thread(target=self._take, name="remuda-take", daemon=True)
        sender = threading.Thread(target=self._send_all, name="remuda-send", daemon=True)
        taker.start()
        sender.start()
        try:
            yield
        finally:
            self._stop.set()
            self._free.release()
            self._taken.put(_End())
            sender.join()
            if self._open:
                keys = [task.key for task in self._open]
                with contextlib.suppress(RemudaError):
                    control.cancel(self._session.connection, keys)

    # --- the thread that takes ----------------------------------------------------------------

    def _take(self) -> None:
        """Take items while the window has room; an iterable that blocks is waited for here."""
        calls = iter(self._calls)
        while True:
            self._free.acquire()
            if self._stop.is_set():
                return
            try:
                self._taken.put(next(calls))
            except StopIteration:
                self._taken.put(_End())
                return
            except BaseException as error:  # noqa: BLE001 - of the iterable: it is raised where results are taken
                self._taken.put(_End(error))
                return

    # --- the thread that sends ----------------------------------------------------------------

    def _send_all(self) -> None:
        end: _End | None = None
        try:
            while end is None:
                items, end = self._gather()
                if self._stop.is_set():
                    return
                if items:
                    self._send(items)
        except _Stopped:
            return
        except (RemudaError, RuntimeError) as error:
            end = _End(error)
        self._on_end(end)

    def _gather(self) -> tuple[list[tuple[Any, ...]], _End | None]:
        """Wait for an item and take those that came with it, as many as a frame holds."""
        item = self._taken.get()
        found: list[tuple[Any, ...]] = []
        while not isinstance(item, _End):
            found.append(item)
            if len(found) >= self._frame_tasks:
                return found, None
            try:
                item = self._taken.get_nowait()
            except queue.Empty:
                return found, None
        return found, item

    def _send(self, items: list[tuple[Any, ...]]) -> None:
        """Send calls; those before one that cannot be encoded go before its error is raised."""
        spec, wrong = self._spec(), list[RemudaError]()

        def rows() -> Iterator[Row]:
            for args in items:
                try:
                    yield Row(spec, *shipment.call(spec, args, {}))
                except RemudaError as error:
                    wrong.append(error)
                    return

        with Shipment(self._depot) as shipment:
            for chunk in chunks(rows(), self._frame_tasks, lambda: shipment.is_full):
                shipment.send()
                self._send_frame(chunk)
        if wrong:
            raise wrong[0]

    def _send_frame(self, chunk: Chunk) -> None:
        if self._sent + len(chunk.args) > MEMBERS_MAX:
            self._batch_key, self._sent = os.urandom(16), 0
        message = Submit(
            submit_key=os.urandom(16),
            session=self._session.key,
            specs=chunk.specs,
            spec_index=chunk.spec_index,
            args=chunk.args,
            batch_key=self._batch_key,
            offset=self._sent,
            allow_infeasible=self._allow_infeasible,
        )
        name_objects(message, self._depot, chunk.digests)
        self._sent += len(chunk.args)
        tasks = settle(self._submit, message, self._submit(message), self._patience, self._stop)
        self._open.update(dict.fromkeys(tasks))
        for task in tasks:
            self._on_stored(task)

    def _submit(self, message: Submit) -> Future[list[Task]]:
        if self._stop.is_set():
            raise _Stopped
        renew_claims(message, self._depot)
        return self._session.submit(message)


def results(tasks: Iterator[Task], *, return_exceptions: bool) -> Iterator[Any]:
    """Yield the results of tasks that have ended, or what they raised in the place of these."""
    for task in tasks:
        try:
            value = task.result()
        except RemudaError as error:
            if not return_exceptions:
                raise
            value = error
        yield value
