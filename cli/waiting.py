"""What does one hear while a task that one stays with shows nothing: what it waits for?"""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import screen
from .gauge import Gauge

if TYPE_CHECKING:
    from .commands import Session

HINT_AFTER_S = 2.0
LOOK_EVERY_S = 5.0
DOING_EVERY_S = 1.0
"""While files of the task are moved or its environment is made."""


class Waiting:
    """Asks from time to time where a task is; entered, until it is left.

    At a terminal it says once what a queued task waits for, and shows a live line while files of
    the task are moved or its environment is made; elsewhere one line says that this goes on.
    """

    def __init__(self, session: Session, task: bytes) -> None:
        self._session = session
        self._task = task
        self._is_terminal = sys.stderr.isatty()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._gauge: Gauge | None = None
        self._said: set[str] = set()

    def __enter__(self) -> Waiting:
        if not self._session.quiet:
            threading.Thread(target=self._look, name="remuda-waiting", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self.hide()

    def hide(self) -> None:
        """Take the live line away: something else is to be written."""
        with self._lock:
            if self._gauge is not None:
                self._gauge.__exit__(None, None, None)
            self._gauge = None

    def tell(self, found: dict[str, Any]) -> None:
        """Show what the scheduler says of the task."""
        reason = str(found.get("reason", ""))
        if not found.get("doing"):
            self.hide()
            if self._is_terminal and found["state"] in ("waiting", "queued"):
                self._once(str(found["state"]), f"{found['state']}: {reason}")
        elif self._is_terminal:
            self._show(reason)
        else:
            self._once(str(found["waits_for"]), reason)

    def _look(self) -> None:
        from ..client import control
        from ..protocol.errors import RemudaError

        pause_s = HINT_AFTER_S
        try:
            while not self._ended.wait(pause_s):
                with self._session.connect() as link:
                    found = control.explain(link, self._task)
                self.tell(found)
                pause_s = DOING_EVERY_S if found.get("doing") else LOOK_EVERY_S
        except RemudaError:
            return  # whoever waits for the task hears of it too

    def _once(self, kind: str, text: str) -> None:
        with self._lock:
            if kind in self._said or self._ended.is_set():
                return
            self._said.add(kind)
        screen.remark(text)

    def _show(self, text: str) -> None:
        with self._lock:
            if self._ended.is_set():
                return
            if self._gauge is None:
                self._gauge = Gauge(self._session)
                self._gauge.__enter__()
            self._gauge.show(0, text)
