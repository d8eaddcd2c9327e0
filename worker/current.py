"""What a task can know and say of itself while it runs: `from remuda import current`.

In a warm worker the answers come from the call that runs; in a command from the environment that
the runner gave it; elsewhere there is no task, and `progress` prints.
"""

from __future__ import annotations

import math
import os
import pathlib

from .state import RunningCall

PROGRESS_TEXT_MAX = 200
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


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
        return self._running is not None and self._running.is_cancelled()

    def progress(self, fraction: float, text: str = "") -> None:
        """Say how far the task is, from 0 to 1, with a short text."""
        if not math.isfinite(fraction):
            raise ValueError(f"progress: {fraction} is no fraction between 0 and 1")
        fraction = min(1.0, max(0.0, float(fraction)))
        text = " ".join(str(text).split())[:PROGRESS_TEXT_MAX]
        path = os.environ.get("REMUDA_PROGRESS")
        running = self._running
        if running is not None and running.task is not None:
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


def _ulid(task: bytes) -> str:
    number = int.from_bytes(task, "big")
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))
