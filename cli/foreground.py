"""How does `run` stay with its task: output comes through, Ctrl-C cancels, a second one leaves."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from . import screen
from .interrupts import INTERRUPTED
from .streams import Printer
from .waiting import Waiting

if TYPE_CHECKING:
    from ..client.connection import Connection
    from ..client.outcome import Standing
    from .commands import Session


class LeftRunning(Exception):  # noqa: N818 - not an error
    """A second Ctrl-C: nobody waits for the end of the task."""


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
def interruptible(session: Session, tasks: Sequence[bytes]) -> Iterator[Interrupts]:
    """Let Ctrl-C cancel tasks while we stay with them; a second one raises LeftRunning."""

    def cancel() -> None:
        from ..client import control

        screen.remark("\ncancelling; Ctrl-C again does not wait for the end")
        with session.connect() as link:
            control.cancel(link, tasks)

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
        with interruptible(session, [task]) as interrupts, Waiting(session, task) as waiting:
            for piece in output.follow(link, task):
                waiting.hide()
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


def await_end(session: Session, link: Connection, task: bytes) -> tuple[Standing, bool]:
    """Stay with a task and print nothing; return how it ended, and whether Ctrl-C ended it.

    Raises LeftRunning at a second Ctrl-C.
    """
    from ..client import control

    with interruptible(session, [task]) as interrupts, Waiting(session, task):
        (standing,) = control.wait_ended(link, [task])
    return standing, bool(interrupts.count)


def leave(shown_id: str) -> int:
    """Say which task ends without us."""
    screen.remark(f"\nnot waiting: {shown_id} is told to stop")
    return INTERRUPTED


def explain_end(standing: Standing, shown_id: str) -> None:
    """Say on stderr why a task did not succeed, where its output cannot have said it."""
    from ..client.outcome import error_of

    own_word = str(standing.detail.get("message", "")).startswith(("exit code", "killed by"))
    if standing.code == "exit_code" and own_word:
        return  # it ran: what it has to say stands in its output
    text = " ".join(str(error_of(standing, shown_id)).split())
    screen.remark(f"remuda: {text}")
