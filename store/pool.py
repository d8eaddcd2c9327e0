"""Who does what would block the loop? A few threads; what they found comes back to the loop."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

THREADS = 8  # most wait for the disk: syncs that meet there share their cost
TAKEN_MAX = 1_024

T = TypeVar("T")
Outcome = Callable[[], T]
"""Returns what the work returned, or raises what it raised."""
Then = Callable[[Outcome[T]], None]


class Returns:
    """Calls that other threads hand to the loop; its descriptor is readable while there are any."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        return self._descriptor

    def put(self, call: Callable[[], None]) -> None:
        """Let the loop make this call; from any thread."""
        self._calls.put(call)
        os.eventfd_write(self._descriptor, 1)

    def take(self) -> list[Callable[[], None]]:
        """Return the calls that came, a bounded number."""
        try:
            os.eventfd_read(self._descriptor)
        except BlockingIOError:
            return []
        calls: list[Callable[[], None]] = []
        while len(calls) < TAKEN_MAX:
            try:
                calls.append(self._calls.get_nowait())
            except Empty:
                return calls
        os.eventfd_write(self._descriptor, 1)  # there may be more
        return calls


class Pool:
    """Threads that hash, read and write, which need no interpreter for the most part."""

    def __init__(self, returns: Returns, threads: int = THREADS) -> None:
        self._returns = returns
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"disk-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, work: Callable[[], T], then: Then[T]) -> None:
        """Do `work` in a thread and then call `then(outcome)` in the loop."""

        def job() -> None:
            outcome = outcome_of(work)
            self._returns.put(lambda: then(outcome))

        self._jobs.put(job)

    def close(self) -> None:
        """Finish what was begun and end the threads."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


def outcome_of(work: Callable[[], T]) -> Outcome[T]:
    """Do the work and keep what came of it, an error too: its place is where it is looked at."""
    try:
        value = work()
    except BaseException as error:  # noqa: BLE001 - raised again in the loop
        return _raising(error)
    return lambda: value


def _raising(error: BaseException) -> Outcome[T]:
    def outcome() -> T:
        raise error

    return outcome
