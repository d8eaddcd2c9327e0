"""How does `submit` bring many tasks: from indices or from lines, with a bar while they travel?"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import typer

from ..protocol.errors import Invalid, RemudaError
from ..protocol.messages import BATCH_MAX
from . import screen
from .commands import Session
from .entries import OURS, Entries
from .gauge import Gauge, pace
from .moving import UNSUBMITTED, moving
from .task_lines import TaskLines
from .task_options import TaskOptions, array
from .writing import counted

if TYPE_CHECKING:
    from ..client.client import Client
    from ..client.stream import Row, Unwatched

_REFUSED_SPEC = re.compile(r"specs\[(\d+)\]")


def submit_array(
    session: Session, client: Client, command: list[str], indices: str, given: dict[str, Any]
) -> bytes:
    """Submit a command for each index; return the batch."""
    from ..client.batch_verbs import array_rows

    found = array(indices)
    with moving(session, client.link.depot, UNSUBMITTED):
        rows = array_rows(command, found, given, client.link.depot)
    stored = _store(session, client, rows, len(found), given)
    return _tell(session, client, stored)


def submit_each_line(
    session: Session, client: Client, command: list[str], path: str, given: dict[str, Any]
) -> bytes:
    """Submit a command for each line of a file; return the batch.

    Every line of a file is checked before the first is sent; what a pipe brings is sent
    as it comes, and called off if a line is none.
    """
    from ..client.batch_verbs import entry_rows

    entries = Entries(path)
    total = entries.count()
    with moving(session, client.link.depot, UNSUBMITTED):
        rows = entry_rows(command, entries, given, client.link.depot)
    stored = _store(session, client, rows, total, given)
    if entries.skipped and not session.quiet:
        screen.remark(f"{entries.name}: skipped {counted(entries.skipped, 'blank line')}")
    if not stored.count:
        raise Invalid(f"{entries.name} has no entries: nothing was submitted", field="each-line")
    return _tell(session, client, stored)


def submit_from(session: Session, client: Client, path: str, given: dict[str, Any]) -> bytes:
    """Submit the tasks of a file of JSON lines, once all of it was checked; return the batch."""
    lines = TaskLines(path, given)
    with Gauge(session) as gauge:
        found = lines.check(lambda count: gauge.show(0, f"{count:,} lines read"))
    if found.wrong_count:
        for text in found.wrong:
            screen.remark(text)
        what = counted(found.wrong_count, "line is wrong", "lines are wrong")
        raise Invalid(f"{lines.name}: {what}: nothing was submitted", field="from")
    if not found.tasks:
        raise Invalid(f"{lines.name} has no tasks: nothing was submitted", field="from")
    stored = _store(session, client, lines.rows(client.link.depot), found.tasks, given, lines)
    return _tell(session, client, stored)


def _name_line(lines: TaskLines, before: int, error: RemudaError) -> None:
    """Put the line in front of what the scheduler refused, and say what became of the rest."""
    named = _REFUSED_SPEC.match(error.field)
    number = lines.line_of(before + int(named[1])) if named else 0
    where = f"{lines.name}, line {number}: " if number else ""
    rest = f"{before:,} tasks stored before are cancelled" if before else "nothing was submitted"
    error.args = (f"{where}{error.message} ({rest})",)


def _store(
    session: Session,
    client: Client,
    rows: Iterable[Row | None],
    total: int | None,
    given: dict[str, Any],
    lines: TaskLines | None = None,
) -> Unwatched:
    from ..client.batch_verbs import store_counted

    began_s, known = time.monotonic(), 0
    with Gauge(session, total) as gauge:

        def on_count(count: int) -> None:
            nonlocal known
            known = count
            rate = count / max(time.monotonic() - began_s, 0.001)
            of = f" of {total:,}" if total else ""
            left = pace(rate, total - count if total else 0)
            gauge.show(count, f"{count:,}{of} tasks submitted  {left}")

        try:
            return store_counted(client.link, rows, given, on_count, BATCH_MAX if lines else 0)
        except RemudaError as error:
            if lines is not None:
                _name_line(lines, known, error)
            raise


def _tell(session: Session, client: Client, stored: Unwatched) -> bytes:
    """Say what was submitted; the id comes last."""
    if session.json:
        screen.document({"batch": stored.id, "tasks": stored.count})
    else:
        if not session.quiet:
            screen.remark(f"submitted a batch of {counted(stored.count, 'task')} to {client.name}")
        screen.line(stored.id)
    sys.stdout.flush()
    return stored.batch


def check_one_source(options: TaskOptions, sources: dict[str, object]) -> None:
    """Raise Invalid where a batch would be made of several things, or one stream read twice."""
    given = [name for name, value in sources.items() if value]
    if len(given) > 1:
        named = " and ".join(f"--{name}" for name in given)
        raise Invalid(f"{named}: a batch is made of one of them", field=given[0])
    if given and sources[given[0]] == OURS and str(options.stdin or "") == OURS:
        raise Invalid(
            f"--{given[0]} - and --stdin -: our standard input serves one of them", field=given[0]
        )


def checked_command(command: list[str] | None, path: str) -> list[str]:
    """Return the command; raises Invalid where there is none, or where lines have theirs."""
    if path and command:
        raise Invalid(f"--from {path}: each line has a command of its own: name none", field="from")
    if not path and not command:
        raise typer.BadParameter("a command is missing: write it behind the options")
    return command or []
