"""What does a user hold of a task: a future with an id."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from ..protocol import ids
from ..protocol.claims import OBJECT_BYTES
from ..protocol.errors import NotAllowed, NotFound, RemudaError
from . import control, output
from .outcome import Standing, TaskCancelled, error_of, value_of
from .reach import Reachable

if TYPE_CHECKING:
    from .connection import Connection
    from .session import Session

_PENDING = concurrent.futures._base.PENDING
_RUNNING = concurrent.futures._base.RUNNING
_CANCELLED = concurrent.futures._base.CANCELLED_AND_NOTIFIED
_FINISHED = concurrent.futures._base.FINISHED
_DONE = frozenset({_CANCELLED, _FINISHED})


class Task(Reachable, Future[Any]):
    """A task on the cluster, as a `concurrent.futures.Future` that the watching session resolves.

    All tasks of a client share one condition, so that a thousand ends cost one lock and one
    wake-up. `state`, `code`, `node` and `attempt` are the last known; `refresh()` asks.
    """

    def __init__(self, session: Session, key: bytes, batch: bytes = b"", number: int = 0) -> None:
        super().__init__()
        self._condition = session.condition
        self._session = session
        self.key = key
        self.batch_key = batch
        self.number = number
        self.standing = Standing(key, "queued")
        self._progress = (0.0, "")
        self._done_callbacks: list[Any]  # of Future, absent from its stub
        self._broken: RemudaError | None = None
        self._has_value = False

    @property
    def id(self) -> str:
        """Return the id as people write it: a ULID, or `ULID.index` in a batch."""
        batch = ids.from_bytes(self.batch_key) if self.batch_key else 0
        return ids.format_id(ids.from_bytes(self.key), batch)

    @property
    def connection(self) -> Connection:
        """Return the connection to the scheduler that knows the task."""
        return self._session.connection

    @property
    def state(self) -> str:
        """Return where the task stood when it was last heard of."""
        return self.standing.state

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the end and return the value; a command gives a CompletedTask.

        Raises TaskFailed, TaskCancelled, NotFound (its result has expired) or TimeoutError.
        """
        self._wait_ended(timeout)
        if self._broken is not None:
            raise self._broken
        if not self._has_value:
            names_some = len(self.standing.value) >= OBJECT_BYTES  # else it is too short to
            self._result = value_of(self.standing, self.id, self._far if names_some else None)
            self._has_value = True
        return self._result

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end and return its error, None after a success; raises TaskCancelled."""
        self._wait_ended(timeout)
        if self._broken is not None:
            return self._broken
        if self.standing.state == "succeeded":
            return None
        error = error_of(self.standing, self.id)
        if isinstance(error, TaskCancelled):
            raise error
        return error

    def cancel(self, grace_s: float | None = None) -> bool:
        """Ask the scheduler to stop the task, running or not; True once that is accepted.

        False when it has ended already. The end itself arrives as for any task.
        """
        verdicts = control.cancel(self.connection, [self.key], grace_s=grace_s)
        verdict = verdicts[0][1] if verdicts else "not_found"
        if verdict == "not_found":
            raise NotFound(f"task {self.id} is not known any more")
        if verdict == "not_allowed":
            raise NotAllowed(f"task {self.id} belongs to somebody else")
        return verdict in ("cancelled", "stopping") or self.cancelled()

    def refresh(self) -> Task:
        """Ask how the task stands and how far it is."""
        document = control.show_task(self.connection, self.key)
        self.number = int(document.get("number") or self.number)
        self._progress = _progress_of(document)
        if self._state not in _DONE:
            self._session.adopt([self.key])
        return self

    @property
    def progress(self) -> tuple[float, str]:
        """Return the fraction that is done and what the task said of it, as last heard."""
        return self._progress

    def logs(self, *, stream: str = "out", follow: bool = False, attempt: int = 0) -> Iterator[str]:
        """Yield what the task printed as text; with `follow` until it ends, over its retries."""
        link = self.connection
        read = output.follow if follow else output.read
        return output.as_text(read(link, self.key, streams=(stream,), attempt=attempt))

    def remove_done_callback(self, callback: Callable[[Future[Any]], object]) -> None:
        """Take back what `add_done_callback` was given; once the task has ended it may run."""
        with self._condition:
            # Not while they run: whoever came after it in the list would be skipped.
            if self._state not in _DONE and callback in self._done_callbacks:
                self._done_callbacks.remove(callback)

    def explain(self) -> dict[str, Any]:
        """Ask why the task is where it is."""
        return control.explain(self.connection, self.key) | {"id": self.id}

    def __repr__(self) -> str:
        return f"<Task {self.id} {self.standing.state}>"

    def _wait_ended(self, timeout: float | None) -> None:
        if self._state in _DONE:
            return
        self.connection.check_usable()
        with self._condition:
            if not self._condition.wait_for(lambda: self._state in _DONE, timeout):
                raise TimeoutError(f"task {self.id} is still {self.standing.state}")

    def _get_snapshot(self) -> tuple[bool, bool, object, BaseException | None]:
        """Answer asyncio (from 3.14 on) like `done`, `cancelled`, `result` and `exception`."""
        if self._state not in _DONE:
            return False, False, None, None
        if self._state == _CANCELLED:
            return True, True, None, None
        error = self.exception(0)
        return True, False, None if error else self.result(0), error


def resolve(news: Iterable[tuple[Task, Standing]]) -> list[Task]:
    """Take in where tasks of one session stand now; return those that have callbacks to run.

    The caller holds the session's condition and notifies it. What has ended stays as it is.
    """
    with_callbacks = []
    for task, standing in news:
        if task._state in _DONE:
            continue
        task.standing = standing
        if not standing.has_ended:
            if standing.details:
                task._progress = _progress_of(standing.detail)
            task._state = _RUNNING if standing.state in ("running", "stopping") else _PENDING
            continue
        _finish(task, cancelled=standing.state == "cancelled")
        if task._done_callbacks:
            with_callbacks.append(task)
    return with_callbacks


def break_off(tasks: Iterable[Task], error: RemudaError) -> list[Task]:
    """Fail tasks of which nothing more will be heard; otherwise like `resolve`."""
    with_callbacks = []
    for task in tasks:
        if task._state not in _DONE:
            task._broken = error
            _finish(task, cancelled=False)
            if task._done_callbacks:
                with_callbacks.append(task)
    return with_callbacks


def _finish(task: Task, *, cancelled: bool) -> None:
    task._state = _CANCELLED if cancelled else _FINISHED
    for waiter in task._waiters:
        if cancelled:
            waiter.add_cancelled(task)
        elif task._broken is not None or task.standing.state != "succeeded":
            waiter.add_exception(task)
        else:
            waiter.add_result(task)


def run_callbacks(task: Task) -> None:
    """Run what was added with `add_done_callback`."""
    task._invoke_callbacks()  # type: ignore[attr-defined]  # of Future, absent from its stub


def _progress_of(document: dict[str, Any]) -> tuple[float, str]:
    """Read fraction and text out of a task's document or of a change that tells of progress."""
    milli = document.get("progress", document.get("progress_milli"))
    text = document.get("text", document.get("progress_text"))
    return max(0, milli if isinstance(milli, int) else 0) / 1000, str(text or "")
