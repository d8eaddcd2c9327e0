"""How is it shown that bytes are on their way: a bar with bytes, rate and the time that is left?"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..protocol.resources import format_bytes
from . import screen
from .gauge import Gauge, Pace
from .interrupts import saying_at_interrupt
from .writing import span

if TYPE_CHECKING:
    from ..client.depot import Depot
    from .commands import Session

SHOWN_AFTER_S = 0.3
"""What is over sooner needs no bar."""
RESUMED = "interrupted: the same command goes on where it was"
UNSUBMITTED = "nothing was submitted: the same command goes on where it was"
WORDS = {"read": "hashed", "up": "sent", "down": "fetched"}
LINE_AFTER_S = 3.0
"""Where no bar is drawn, what takes longer than that is told in a line."""


@contextmanager
def moving(session: Session, depot: Depot, interrupted: str = RESUMED) -> Iterator[None]:
    """Show transfers of a client as they go, to people at a terminal.

    A Ctrl-C while one is under way says what was `interrupted` and how it goes on.
    """
    bars: dict[str, _Bar] = {}
    is_moving = False

    def on_moved(direction: str, done: int, total: int) -> None:
        nonlocal is_moving
        is_moving = done < total
        if direction not in bars:
            bars[direction] = _Bar(session, WORDS[direction])
        bars[direction].show(done, total)

    depot.on_moved = on_moved
    depot.on_said = None if session.quiet else screen.remark
    try:
        with saying_at_interrupt(lambda: interrupted if is_moving and not session.quiet else ""):
            yield
    finally:
        depot.on_moved = depot.on_said = None
        for bar in bars.values():
            bar.close()


class _Bar:
    """One transfer; what comes after its end begins anew."""

    def __init__(self, session: Session, word: str) -> None:
        self._session = session
        self._word = word
        self._gauge: Gauge | None = None
        self._pace = Pace()
        self._begun_s = time.monotonic()
        self._is_terminal = sys.stderr.isatty()
        self._is_told = session.quiet

    def _tell_once(self, done: int, total: int) -> None:
        is_long = time.monotonic() - self._begun_s >= LINE_AFTER_S
        if is_long and done < total and not self._is_told:
            self._is_told = True
            screen.remark(f"{format_bytes(done)} of {format_bytes(total)} {self._word} so far")

    def show(self, done: int, total: int) -> None:
        """Say how far it is."""
        rate = self._pace.rate(done)
        if not self._is_terminal:
            self._tell_once(done, total)
            return
        if self._gauge is None:
            if time.monotonic() - self._begun_s < SHOWN_AFTER_S:
                return
            self._gauge = Gauge(self._session, 1.0)
            self._gauge.__enter__()
        text = f"{format_bytes(done)} of {format_bytes(total)} {self._word}"
        if rate:
            left = f", {span(max(1, round((total - done) / rate)))} left" if done < total else ""
            text += f"  {format_bytes(round(rate))}/s{left}"
        self._gauge.show(done / total if total else 1.0, text)
        if done >= total:
            self.close()

    def close(self) -> None:
        """Remove the line."""
        if self._gauge is not None:
            self._gauge.__exit__(None, None, None)
        self._gauge = None
        self._pace = Pace()
        self._begun_s = time.monotonic()
