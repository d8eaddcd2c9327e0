"""Which calls run in this worker, and what was said of them but not sent yet."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence

from .batches import attempt_key
from .capture import Sink
from .page import Page


class RunningCall:
    """One call; `task` is None between calls. The main thread writes, any may read.

    That of the worker itself is used again for each call that runs alone; while a batch runs its
    `members` are the calls of it, `turn_to` says for which of them what is printed is from now on,
    and `directory_of` where the files of one are.
    """

    __slots__ = (
        "_folder", "_number", "_output_dir", "_page",
        "attempt", "directory_of", "hinted", "members", "said", "sinks", "task", "turn_to",
    )  # fmt: skip

    def __init__(self, output_dir: str, page: Page) -> None:
        self.task: bytes | None = None
        self.attempt = 0
        self.said: tuple[float, str] | None = None
        self.members: Sequence[RunningCall] = ()
        self.sinks: tuple[Sink, ...] = ()
        self.turn_to: Callable[[Sequence[RunningCall]], None] = _nowhere
        self.directory_of: Callable[[bytes, int], str] = _none
        self.hinted = (0, 0)
        self._number = 0
        self._output_dir = output_dir
        self._page = page
        self._folder = ""

    def begin(self, task: bytes, attempt: int, number: int) -> None:
        """Turn to another call."""
        self.attempt = attempt
        self._number = number
        self.task = task

    def member(self, task: bytes, attempt: int, number: int) -> RunningCall:
        """Make a call that is to run in a batch."""
        made = RunningCall(self._output_dir, self._page)
        made.begin(task, attempt, number)
        return made

    def end(self) -> None:
        """Leave the call; progress that was not sent is of no use any more."""
        self.task = None
        self.said = None
        self._folder = ""

    def say(self, fraction: float, text: str) -> None:
        """Keep the newest progress until it is sent."""
        self.said = (fraction, text)

    def is_cancelled(self) -> bool:
        """Say whether the running call was cancelled."""
        return self.task is not None and self._page.is_cancelled(self._number)

    def folder(self) -> str:
        """Make the directory of the running call's output and return it."""
        if not self._folder and self.task is not None:
            folder = f"{self._output_dir}/{attempt_key(self.task, self.attempt)}"
            pathlib.Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder = folder
        return self._folder


def _nowhere(_members: Sequence[RunningCall]) -> None:
    """Leave what is printed where it goes."""


def _none(_task: bytes, _attempt: int) -> str:
    return ""
