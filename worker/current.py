"""What a task can know and say of itself while it runs: `from remuda import current`.

In a warm worker the answers come from the call that runs; in a command from the environment that
the runner gave it; elsewhere there is no task, and `progress` prints. Where calls run in batches
(`max_batch`) `current.batch` has one of these for each of them.
"""

from __future__ import annotations

import math
import os
import pathlib
from collections.abc import Sequence

from .state import RunningCall

PROGRESS_TEXT_MAX = 200
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class BatchCall:
    """One call of the batch that runs; within `with` it, what is printed is its own output."""

    def __init__(self, worker: RunningCall, call: RunningCall) -> None:
        self._worker = worker
        self._call = call

    @property
    def task_id(self) -> str:
        """The task's id."""
        return _ulid(self._call.task or bytes(16))

    @property
    def attempt(self) -> int:
        """Which try this is, from 1."""
        return self._call.attempt

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for this call any more: what is returned for it is dropped."""
        return self._call.is_cancelled()

    @property
    def directory(self) -> str:
        """Where its files are, and where one must be that is returned for it."""
        return self._worker.directory_of(self._call.task or bytes(16), self._call.attempt)

    def progress(self, fraction: float, text: str = "") -> None:
        """Say how far this call is, from 0 to 1, with a short text."""
        self._call.say(*_progress(fraction, text))

    def __enter__(self) -> BatchCall:
        self._worker.turn_to((self._call,))
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.turn_to(self._worker.members)

    def __repr__(self) -> str:
        return f"<call {self.task_id} of a batch>"


class Current:
    """The task that this code is part of."""

    def __init__(self) -> None:
        self._running: RunningCall | None = None

    @property
    def task_id(self) -> str | None:
        """The task's id, None outside a task."""
        running = self._running
        if running is not None and running.task is not None:
            return _ulid(running.task)
        return os.environ.get("REMUDA_TASK_ID")

    @property
    def attempt(self) -> int:
        """Which try this is, from 1; 0 outside a task."""
        running = self._running
        if running is not None and running.task is not None:
            return running.attempt
        number = os.environ.get("REMUDA_ATTEMPT", "").rpartition(".")[2]
        return int(number) if number.isdigit() else 0

    @property
    def gpus(self) -> list[str]:
        """The UUIDs of the GPUs granted to this task."""
        return [uuid for uuid in os.environ.get("REMUDA_GPU_UUIDS", "").split(",") if uuid]

    @property
    def cancelled(self) -> bool:
        """Whether this task was cancelled: return soon, before the grace is over."""
        if self._running is not None and self._running.members:
            return all(each.is_cancelled() for each in self._running.members)
        return self._running is not None and self._running.is_cancelled()

    @property
    def batch(self) -> Sequence[BatchCall]:
        """The calls of the batch that runs, in the order of their arguments; else none.

        In a batch `task_id` is None, `progress` speaks for all of its calls, `cancelled` says that
        all of them are, and what is printed is output of each.
        """
        running = self._running
        if running is None:
            return ()
        return tuple(BatchCall(running, each) for each in running.members)

    def progress(self, fraction: float, text: str = "") -> None:
        """Say how far the task is, from 0 to 1, with a short text."""
        fraction, text = _progress(fraction, text)
        path = os.environ.get("REMUDA_PROGRESS")
        running = self._running
        if running is not None and running.members:
            for each in running.members:
                each.say(fraction, text)
        elif running is not None and running.task is not None:
            running.say(fraction, text)
        elif path:
            pathlib.Path(path).write_text(f"{fraction:.4f} {text}\n", encoding="utf-8")
        else:
            print(f"{fraction:4.0%} {text}".rstrip(), flush=True)  # noqa: T201 - its purpose

    def __repr__(self) -> str:
        return f"<current task {self.task_id or 'none'}>"


current = Current()


def set_running(running: RunningCall | None) -> None:
    """Say where the running call is to be seen (the worker, once)."""
    current._running = running


def _progress(fraction: float, text: str) -> tuple[float, str]:
    if not math.isfinite(fraction):
        raise ValueError(f"progress: {fraction} is no fraction between 0 and 1")
    return min(1.0, max(0.0, float(fraction))), " ".join(str(text).split())[:PROGRESS_TEXT_MAX]


def _ulid(task: bytes) -> str:
    number = int.from_bytes(task, "big")
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))
