"""How does `run` stay with its task: output comes through, Ctrl-C cancels, a second one leaves."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from . import screen
from .streams import Printer

if TYPE_CHECKING:
    from ..client.connection import Connection
    from ..client.outcome import Standing
    from .commands import Session

INTERRUPTED = 130
NOT_STARTED = (126, 127)  # what a shell says of a command that it cannot start


class LeftRunning(Exception):  # noqa: N818 - not an error
    """A second Ctrl-C leaves the task to itself."""


class Interrupts:
    """Count Ctrl-C: the first one cancels, the second one leaves."""

    def __init__(self, cancel: Callable[[], None]) -> None:
        self.count = 0
        self._cancel = cancel

    def on_signal(self, _number: int, _frame: object) -> None:
        """Cancel at first; later leave, from wherever the main thread is."""
        self.count += 1
        if self.count > 1:
            raise LeftRunning
        self._cancel()


@contextmanager
def interruptible(session: Session, task: bytes) -> Iterator[Interrupts]:
    """Let Ctrl-C cancel a task while we stay with it; a second one raises LeftRunning."""

    def cancel() -> None:
        from ..client import control

        screen.remark("\ncancelling; Ctrl-C again leaves it running")
        with session.connect() as link:
            control.cancel(link, [task])

    interrupts = Interrupts(cancel)
    before = {
        number: signal.signal(number, interrupts.on_signal)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def attend(session: Session, link: Connection, task: bytes, shown_id: str) -> int:
    """Stream a command's output to its end; return the exit code of `run`."""
    from ..client import control, output
    from ..client.outcome import exit_code

    printer = Printer()
    try:
        with interruptible(session, task) as interrupts:
            for piece in output.follow(link, task):
                printer.write(piece)
            (standing,) = control.wait_ended(link, [task])
    except LeftRunning:
        return leave(shown_id)
    except BrokenPipeError:
        control.cancel(link, [task])  # as a command ends whose reader has gone
        raise
    if interrupts.count:
        return INTERRUPTED
    if standing.state != "succeeded":
        explain_end(standing, shown_id)
    return exit_code(standing)


def leave(shown_id: str) -> int:
    """Say which task goes on without us."""
    screen.remark(f"left running: {shown_id}")
    return INTERRUPTED


def explain_end(standing: Standing, shown_id: str) -> None:
    """Say on stderr why a task did not succeed, where its output cannot have said it."""
    from ..client.outcome import error_of

    if standing.code == "exit_code" and standing.detail.get("exit_code") not in NOT_STARTED:
        return  # the command's own word, in its own output
    text = " ".join(str(error_of(standing, shown_id)).split())
    screen.remark(f"remuda: {text}")
