"""Which call runs in this worker, and what was said of it but not sent yet."""

from __future__ import annotations

import pathlib

from .batches import attempt_key
from .page import Page


class RunningCall:
    """The call that runs; `task` is None between calls. The main thread writes, any may read."""

    def __init__(self, output_dir: str, page: Page) -> None:
        self.task: bytes | None = None
        self.attempt = 0
        self.said: tuple[float, str] | None = None
        self._number = 0
        self._output_dir = output_dir
        self._page = page
        self._folder = ""

    def begin(self, task: bytes, attempt: int, number: int) -> None:
        """Turn to another call."""
        self.attempt = attempt
        self._number = number
        self.task = task

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
