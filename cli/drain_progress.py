"""What does `node drain --wait` show, and how does it end?"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import screen
from .commands import Session
from .interrupts import INTERRUPTED, raising_interrupts
from .writing import counted, span

if TYPE_CHECKING:
    from ..client.connection import Connection
    from ..client.draining import Look

NAMED_MAX = 5


def wait_drained(session: Session, link: Connection, names: Sequence[str]) -> int:
    """Wait until nothing is left on these nodes; return the exit code."""
    from ..client import draining

    shown = _Live() if sys.stderr.isatty() and not session.quiet else _Lines(session)
    try:
        with raising_interrupts():
            draining.wait_drained(link, names, shown.on_look)
    except KeyboardInterrupt:
        is_over = False
    else:
        is_over = True
    finally:
        shown.close()
    if not is_over:
        screen.remark("stopped looking; the drain goes on")
        return INTERRUPTED
    if not (session.json or session.quiet):
        what = f"{names[0]} is" if len(names) == 1 else f"{counted(len(names), 'node')} are"
        screen.line(f"{link.cluster}: {what} drained")
    return 0


def left_in_short(look: Look) -> str:
    """Say how many tasks are left, where, and what keeps them there."""
    from ..client.draining import left_on

    left = {name: left_on(row) for name, row in look.items() if left_on(row)}
    where = [_place(name, look) for name in list(left)[:NAMED_MAX]]
    if len(left) > NAMED_MAX:
        where.append(f"{len(left) - NAMED_MAX:,} more nodes")
    return f"{counted(sum(left.values()), 'task')} left on {', '.join(where)}" if left else ""


def _place(name: str, look: Look) -> str:
    """Name a node; one that cannot tell what it let go is said to be silent."""
    state = look[name].get("state")
    return name if state == "draining" else f"{name} ({state})"


class _Lines:
    """A line on stderr whenever another number of tasks is left."""

    def __init__(self, session: Session) -> None:
        self._is_silent = session.quiet
        self._last = ""

    def on_look(self, look: Look) -> None:
        """Take in what one look saw."""
        text = left_in_short(look)
        if text and text != self._last and not self._is_silent:
            screen.remark(text)
        self._last = text

    def close(self) -> None:
        """Leave the lines where they are."""


class _Live:
    """One line on a terminal, drawn anew at each look."""

    def __init__(self) -> None:
        self._since_s = time.monotonic()

    def on_look(self, look: Look) -> None:
        """Take in what one look saw."""
        text = f"{left_in_short(look)}  {span(time.monotonic() - self._since_s)}"
        sys.stderr.write(f"\r\x1b[2K{text[: screen.columns_shown() - 1]}")
        sys.stderr.flush()

    def close(self) -> None:
        """Remove the line."""
        sys.stderr.write("\r\x1b[2K")
        sys.stderr.flush()
