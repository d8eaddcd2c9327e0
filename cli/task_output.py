"""The verbs that follow tasks: logs and wait."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import screen
from .commands import Session, command
from .interrupts import INTERRUPTED, raising_interrupts
from .refs import Filters, select, select_one
from .task_changes import outcome_counts
from .task_options import duration_s
from .writing import counted, id_text, span

if TYPE_CHECKING:
    from ..client.outcome import Standing

FAILED, TIMED_OUT = 1, 124
REDRAW_S = 0.1
LINES_MAX = 1_000_000
OneRef = Annotated[str, typer.Argument(metavar="TASK", help="An id, a number or `last`.")]
NewestRef = Annotated[
    str, typer.Argument(metavar="[TASK]", help="An id or a number (default: `last`).")
]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on until the task ends.")]
Lines = Annotated[
    int | None,
    typer.Option("--lines", "-n", metavar="N", min=0, max=LINES_MAX, help="Only the last N lines."),
]
Stderr = Annotated[bool, typer.Option("--stderr", help="Only what it wrote to stderr.")]
Attempt = Annotated[int, typer.Option(metavar="N", min=0, help="Of this try (default: newest).")]


@command("task logs", example="remuda task logs last --follow\nremuda task logs 12 -n 50 --stderr")
def task_logs(
    session: Session,
    task: OneRef,
    follow: Follow = False,
    lines: Lines = None,
    stderr: Stderr = False,
    attempt: Attempt = 0,
) -> int:
    """Print what a task wrote: stdout to stdout, stderr to stderr."""
    from ..client import output
    from .streams import Printer

    streams = ("err",) if stderr else ("out", "err")
    printer = Printer(lines_max=lines, err_to_stdout=stderr)
    with session.connect() as link:
        key = select_one(link, task)
        try:
            read = output.follow if follow else output.read
            with raising_interrupts():
                for piece in read(link, key, streams=streams, attempt=attempt):
                    printer.write(piece)
        except KeyboardInterrupt:
            return INTERRUPTED
        finally:
            printer.close()
    return 0


@command("logs", example="remuda logs -f last")
def logs(
    session: Session,
    task: NewestRef = "last",
    follow: Follow = False,
    lines: Lines = None,
    stderr: Stderr = False,
    attempt: Attempt = 0,
) -> int:
    """Print what a task wrote (short for `task logs`)."""
    return task_logs(session, task, follow, lines, stderr, attempt)


@command("task wait", example="remuda task wait last --timeout 10m\nremuda task wait 3-9")
def task_wait(
    session: Session,
    filters: Filters,
    tasks: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TASK]...", help="Ids, numbers, ranges (3-9), batches or `last`."),
    ] = None,
    timeout: Annotated[
        str, typer.Option(metavar="TIME", help="Give up after this long (exit code 124).")
    ] = "",
) -> int:
    """Wait until tasks have ended (exit code 1: not all succeeded)."""
    timeout_s = duration_s("timeout", timeout)
    with session.connect() as link:
        keys = select(link, tasks or [], filters).every_task
        if not keys and not session.json:
            screen.remark("no task is like that: nothing to wait for")
            return 0
        return wait(session, link, keys, timeout_s=timeout_s)


def wait(session: Session, link: Any, keys: list[bytes], *, timeout_s: float | None) -> int:
    """Wait for tasks and say how they ended."""
    from ..client import control

    progress = _progress(len(keys), session)
    try:
        with raising_interrupts():
            ended = control.wait_ended(
                link, keys, timeout_s=timeout_s, on_change=progress.on_change
            )
    except TimeoutError:
        progress.close()
        screen.remark(f"still going on after {span(timeout_s or 0)}: nothing was changed")
        return TIMED_OUT
    except KeyboardInterrupt:
        progress.close()
        screen.remark("stopped looking; the tasks go on")
        return INTERRUPTED
    progress.close()
    states = Counter(each.state for each in ended)
    if session.json:
        rows = [{"id": id_text(e.task), "state": e.state, "code": e.code or None} for e in ended]
        screen.document(rows)
    elif not session.quiet:
        screen.line(f"{counted(len(ended), 'task')}: {outcome_counts(e.state for e in ended)}")
    return 0 if set(states) <= {"succeeded"} else FAILED


class _Silent:
    """Shows nothing."""

    def on_change(self, standing: Standing) -> None:
        """Take a change in."""

    def close(self) -> None:
        """End the display."""


class _Bar:
    """One line on a terminal that shows how many of the tasks have ended."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._states: dict[bytes, str] = {}
        self._since_s = time.monotonic()
        self._drawn_s = 0.0

    def on_change(self, standing: Standing) -> None:
        """Take a change in and redraw at most ten times a second."""
        self._states[standing.task] = standing.state
        now_s = time.monotonic()
        if now_s - self._drawn_s >= REDRAW_S:
            self._drawn_s = now_s
            self._draw(now_s)

    def close(self) -> None:
        """Remove the line."""
        sys.stderr.write("\r\x1b[2K")
        sys.stderr.flush()

    def _draw(self, now_s: float) -> None:
        from .writing import bar

        counts = Counter(self._states.values())
        ended = sum(counts[word] for word in ("succeeded", "failed", "cancelled"))
        text = f"{bar(ended, self._total, 24)} {ended:,}/{self._total:,}"
        for word in ("running", "failed", "cancelled"):
            text += f"  {counts[word]:,} {word}" if counts[word] else ""
        sys.stderr.write(f"\r\x1b[2K{text}  {span(now_s - self._since_s)}")
        sys.stderr.flush()


def _progress(total: int, session: Session) -> _Bar | _Silent:
    shown = total > 1 and sys.stderr.isatty() and not session.quiet
    return _Bar(total) if shown else _Silent()
