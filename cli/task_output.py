"""The verbs that follow tasks: logs and wait."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..protocol.errors import Invalid
from . import following, screen
from .commands import Session, command
from .following import progress_line
from .gauge import Gauge, Pace
from .interrupts import INTERRUPTED, raising_interrupts
from .moving import moving
from .refs import TERMINAL, Filters, select, select_one
from .task_changes import outcome_counts
from .task_options import duration_s
from .writing import counted, id_text, span

if TYPE_CHECKING:
    from ..client.connection import Connection
    from ..client.outcome import Standing
    from .streams import JsonLines, Printer

FAILED, TIMED_OUT = 1, 124
LINES_MAX = 1_000_000
PIECE_BYTES = 1 << 20
STREAMS = ("out", "err")
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
Full = Annotated[
    bool, typer.Option("--full", help="All of it, from the store where it was kept whole.")
]


@command("task logs", example="remuda task logs last --follow\nremuda task logs 12 -n 50 --stderr")
def task_logs(
    session: Session,
    task: OneRef,
    follow: Follow = False,
    lines: Lines = None,
    stderr: Stderr = False,
    attempt: Attempt = 0,
    full: Full = False,
) -> int:
    """Print what a task wrote: stdout to stdout, stderr to stderr.

    With --json each line is an object of its own: stream, attempt, text, lost_bytes.
    """
    from ..client import output
    from .streams import JsonLines, Printer

    if full and (follow or attempt):
        raise Invalid("--full: it is of the newest try, once that has ended", field="full")
    streams: tuple[str, ...] = ("err",) if stderr else STREAMS
    printer: Printer | JsonLines = Printer(lines_max=lines, err_to_stdout=stderr)
    if session.json:
        printer = JsonLines(lines_max=lines)
    with session.connect() as link:
        key = select_one(link, task)
        try:
            if full:
                streams = _print_whole(session, link, key, streams, printer)
            read = output.follow if follow else output.read
            with raising_interrupts():
                for piece in read(link, key, streams=streams, attempt=attempt):
                    if full:
                        _tell_kept(session, piece.stream)
                        full = False
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
    full: Full = False,
) -> int:
    """Print what a task wrote (short for `task logs`)."""
    return task_logs(session, task, follow, lines, stderr, attempt, full)


def _print_whole(
    session: Session,
    link: Connection,
    key: bytes,
    streams: tuple[str, ...],
    printer: Printer | JsonLines,
) -> tuple[str, ...]:
    """Print what the store has of a task's output; return what has to come from elsewhere."""
    from ..client.output import Piece
    from ..client.received import Far

    far = Far(link, key)
    rest = []
    for stream in streams:
        with moving(session, link.depot):
            file = far.log(stream)
        if file is None:
            rest.append(stream)
            continue
        with file:
            while blob := file.read(PIECE_BYTES):
                printer.write(Piece(stream, blob))
    return tuple(rest)


def _tell_kept(session: Session, stream: str) -> None:
    """Say that what comes now is not all of it."""
    if not session.quiet:
        said = f"std{stream} was not kept whole (--keep-log keeps it)"
        screen.remark(f"{said}: this is what its node or its result still has")


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
        chosen = select(link, tasks or [], filters)
        if chosen.batches and not chosen.tasks and not session.json:
            named = [batch for batch, _ in chosen.batches]
            return following.wait(session, link, named, timeout_s=timeout_s)
        keys = chosen.every_task
        if not keys and not session.json:
            screen.remark("no task is like that: nothing to wait for")
            return 0
        return wait(session, link, keys, timeout_s=timeout_s)


def wait(session: Session, link: Any, keys: list[bytes], *, timeout_s: float | None) -> int:
    """Wait for tasks and say how they ended."""
    from ..client import control

    progress = _Progress(session, len(keys))
    try:
        with raising_interrupts(), progress.gauge:
            ended = control.wait_ended(
                link, keys, timeout_s=timeout_s, on_change=progress.on_change
            )
    except TimeoutError:
        screen.remark(f"still going on after {span(timeout_s or 0)}: nothing was changed")
        return TIMED_OUT
    except KeyboardInterrupt:
        screen.remark("stopped looking; the tasks go on")
        return INTERRUPTED
    states = {each.state for each in ended}
    if session.json:
        rows = [{"id": id_text(e.task), "state": e.state, "code": e.code or None} for e in ended]
        screen.document(rows)
    elif not session.quiet:
        screen.line(f"{counted(len(ended), 'task')}: {outcome_counts(e.state for e in ended)}")
    return 0 if states <= {"succeeded"} else FAILED


class _Progress:
    """Shows how many of the tasks have ended, and how fast."""

    def __init__(self, session: Session, total: int) -> None:
        self.gauge = Gauge(session, total)
        self._total = total
        self._states: dict[bytes, str] = {}
        self._counts: Counter[str] = Counter()
        self._pace = Pace()

    def on_change(self, standing: Standing) -> None:
        """Take a change in."""
        before = self._states.get(standing.task)
        self._states[standing.task] = standing.state
        self._counts[standing.state] += 1
        if before is not None:
            self._counts[before] -= 1
        ended = sum(self._counts[word] for word in TERMINAL)
        text = progress_line(self._counts, self._total, self._pace.rate(ended))
        self.gauge.show(ended, text)
