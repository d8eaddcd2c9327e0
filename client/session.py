"""How do tasks come to know of their ends? One watching session per client.

Futures resolve only from what WATCH and STATES say, never from a submit reply. All of this but
`submit` and `adopt` runs on the courier's thread, so that it needs no locks of its own.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from itertools import islice
from typing import TypeVar

from ..protocol import codec
from ..protocol.errors import NotAllowed, RemudaError, Unreachable
from ..protocol.ids import from_bytes, member, to_bytes
from ..protocol.messages import Changes, States, Submit, Submitted, Watch
from ..protocol.mirrored import Revision
from .callbacks import Callbacks
from .connection import Connection, expect
from .courier import RESEND_S, ClientClosed
from .exchange import Reply
from .outcome import Standing
from .task import Task, break_off, resolve
from .watching import standings, states

STATES_SLICE = 2_000
EARLY_MAX = 50_000
AGAIN_S = 1.0
T = TypeVar("T")

_log = logging.getLogger("remuda")


class Session:
    """The open tasks of one client and the one long poll that hears of them."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.key = os.urandom(16)
        self.condition = threading.Condition()
        self.closed = threading.Event()
        self.heard = Revision(0, 0)
        self._courier = connection.courier
        self._poll_s = connection.table.poll_s
        self._callbacks = Callbacks()
        self._open: dict[bytes, Task] = {}
        self._cursor = (0, 0)
        self._begun = False
        self._beginning = threading.Lock()
        self._watching = False
        self._asking = False
        self._doubtful: dict[bytes, None] = {}
        self._submitting = 0
        self._early: dict[bytes, Standing] = {}

    def submit(self, message: Submit) -> Future[list[Task]]:
        """Send a submission; the future gives its tasks once they are stored."""
        self.connection.check_usable()
        stored: Future[list[Task]] = Future()
        resync = any(message.once)
        self._begin()

        def receive(outcome: Reply | RemudaError) -> None:
            self._submitting -= 1
            try:
                if isinstance(outcome, RemudaError):
                    raise outcome
                stored.set_result(self._on_stored(outcome, resync=resync))
            except RemudaError as error:
                stored.set_exception(error)
            if not self._submitting:
                self._early.clear()

        def count() -> None:
            self._submitting += 1

        payload = codec.encode(message, 0)
        self._courier.call_soon(count)
        self._courier.post(payload, receive, patience_s=self.connection.request_timeout_s)
        return stored

    def adopt(self, keys: Sequence[bytes], batch: bytes = b"") -> list[Task]:
        """Watch tasks that were submitted elsewhere; returns them with what is known now."""
        self.connection.check_usable()
        tasks = self._on_thread(lambda: self._take_on(keys, batch))
        known = states(self.connection, keys, session=self.key)
        self._on_thread(lambda: self._apply(known))
        return tasks

    def close(self) -> None:
        """Stop watching; tasks that are still open raise ClientClosed from now on."""
        error = ClientClosed(
            "the client was closed before this task ended; `Client().task(id)` finds it again"
        )
        self.closed.set()
        if not self._courier.is_current_thread:
            self._courier.call_soon(lambda: self._break_off(error))
        self.connection.close()
        self._callbacks.close()

    def _on_thread(self, work: Callable[[], T]) -> T:
        done: Future[T] = Future()
        self._courier.call_soon(lambda: done.set_result(work()))
        return done.result()

    def _begin(self) -> None:
        """Learn where to watch from, before the first submission reaches the scheduler."""

        def receive(outcome: Reply | RemudaError) -> None:
            changes = _changes(outcome)
            # Sent twice, it may have been answered after a submission: then a gap is right.
            if isinstance(outcome, Reply) and outcome.tries == 1 and isinstance(changes, Changes):
                self._cursor = max(self._cursor, (changes.epoch, changes.seq))

        with self._beginning:
            if not self._begun:
                message = codec.encode(States([], self.key), 0)
                timeout_s = self.connection.request_timeout_s
                self._courier.post(message, receive, patience_s=timeout_s)
                self._begun = True

    # --- on the courier's thread --------------------------------------------------------------

    def _take_on(self, keys: Sequence[bytes], batch: bytes) -> list[Task]:
        tasks = [self._open.get(key) or Task(self, key, batch) for key in keys]
        self._open.update(zip(keys, tasks, strict=True))
        self._kick()
        return tasks

    def _on_stored(self, reply: Reply, *, resync: bool) -> list[Task]:
        stored = expect(reply, Submitted)
        keys: Iterable[bytes] = stored.tasks
        if stored.batch:
            first = member(from_bytes(stored.batch), stored.offset)
            keys = (to_bytes(number) for number in range(first, first + stored.count))
        tasks = [
            Task(self, key, stored.batch, stored.first_number + index)
            for index, key in enumerate(keys)
        ]
        known = self._open
        tasks = [known.setdefault(task.key, task) for task in tasks]
        if self._early:
            self._apply([self._early.pop(task.key) for task in tasks if task.key in self._early])
        if resync or reply.tries > 1:  # stored before: they may have ended unheard
            self._doubtful.update((task.key, None) for task in tasks)
        self._kick()
        return tasks

    def _kick(self) -> None:
        """Keep one WATCH outstanding while tasks are open, one STATES while some are in doubt."""
        if self._open and not self._watching:
            self._watching = True
            message = codec.encode(Watch(self.key, *self._cursor, int(self._poll_s * 1000)), 0)
            answer_s = self._poll_s + RESEND_S
            self._courier.post(message, self._on_watched, patience_s=0, answer_s=answer_s)
        if self._doubtful and not self._asking:
            self._doubtful = {key: None for key in self._doubtful if key in self._open}
            asked = list(islice(self._doubtful, STATES_SLICE))
            if asked:
                self._asking = True
                message = codec.encode(States(asked, self.key), 0)
                self._courier.post(message, self._on_states, patience_s=0)

    def _on_watched(self, outcome: Reply | RemudaError) -> None:
        self._watching = False
        changes = _changes(outcome)
        if isinstance(changes, RemudaError):
            self._on_deaf(changes)
            return
        self._cursor = (changes.epoch, changes.seq)
        self.heard = max(self.heard, Revision(changes.epoch, changes.rev))
        self._apply(standings(changes))
        if changes.gap:
            self._doubtful.update(dict.fromkeys(self._open))
        self._kick()

    def _on_states(self, outcome: Reply | RemudaError) -> None:
        self._asking = False
        changes = _changes(outcome)
        if isinstance(changes, RemudaError):
            self._on_deaf(changes)
            return
        self.heard = max(self.heard, Revision(changes.epoch, changes.rev))
        news = standings(changes)
        for standing in news:
            self._doubtful.pop(standing.task, None)
        self._apply(news)
        if news:
            self._kick()
        else:
            self._courier.call_later(AGAIN_S, self._kick)

    def _on_deaf(self, error: RemudaError) -> None:
        """Try again after a refusal that may pass; else let the open tasks know."""
        if isinstance(error, (NotAllowed, Unreachable, ClientClosed)):
            self._break_off(error)
            return
        _log.warning("remuda: watching tasks failed, trying again: %s", error)
        self._courier.call_later(max(AGAIN_S, error.retry_after_s), self._kick)

    def _apply(self, standings: Sequence[Standing]) -> None:
        known = []
        for standing in standings:
            task = self._open.get(standing.task)
            if task is None:
                self._keep_early(standing)
                continue
            known.append((task, standing))
            if standing.has_ended:
                del self._open[standing.task]
        if known:
            with self.condition:
                with_callbacks = resolve(known)
                self.condition.notify_all()
            self._callbacks.run(with_callbacks)

    def _keep_early(self, standing: Standing) -> None:
        """Keep news that overtook the reply to its submission."""
        if self._submitting:
            if len(self._early) >= EARLY_MAX:
                self._early.pop(next(iter(self._early)))
            self._early[standing.task] = standing

    def _break_off(self, error: RemudaError) -> None:
        tasks = list(self._open.values())
        self._open.clear()
        with self.condition:
            with_callbacks = break_off(tasks, error)
            self.condition.notify_all()
        self._callbacks.run(with_callbacks)


def _changes(outcome: Reply | RemudaError) -> Changes | RemudaError:
    if isinstance(outcome, RemudaError):
        return outcome
    try:
        return expect(outcome, Changes)
    except RemudaError as error:
        return error
