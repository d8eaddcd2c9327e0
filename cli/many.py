"""How does `submit` bring many tasks: from indices or from lines, with a bar while they travel?"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..protocol.errors import Invalid
from . import screen
from .commands import Session
from .entries import OURS, Entries
from .gauge import Gauge, pace
from .moving import moving
from .task_options import TaskOptions, array
from .writing import counted

if TYPE_CHECKING:
    from ..client.client import Client
    from ..client.stream import Row, Unwatched


def submit_array(
    session: Session, client: Client, command: list[str], indices: str, given: dict[str, Any]
) -> bytes:
    """Submit a command for each index; return the batch."""
    from ..client.batch_verbs import array_rows

    found = array(indices)
    with moving(session, client.link.depot):
        rows = array_rows(command, found, given, client.link.depot)
    stored = _store(session, client, rows, len(found), given)
    return _tell(session, client, stored)


def submit_each_line(
    session: Session, client: Client, command: list[str], path: str, given: dict[str, Any]
) -> bytes:
    """Submit a command for each line of a file; return the batch.

    Every line of a file is checked before the first is sent; what a pipe brings is sent as it
    comes, and called off if a line is none.
    """
    from ..client.batch_verbs import entry_rows

    entries = Entries(path)
    total = entries.count()
    with moving(session, client.link.depot):
        rows = entry_rows(command, entries, given, client.link.depot)
    stored = _store(session, client, rows, total, given)
    if entries.skipped and not session.quiet:
        screen.remark(f"{entries.name}: skipped {counted(entries.skipped, 'blank line')}")
    if not stored.count:
        raise Invalid(f"{entries.name} has no entries: nothing was submitted", field="each-line")
    return _tell(session, client, stored)


def _store(
    session: Session,
    client: Client,
    rows: Iterable[Row],
    total: int | None,
    given: dict[str, Any],
) -> Unwatched:
    from ..client.batch_verbs import store_counted

    began_s = time.monotonic()
    with Gauge(session, total) as gauge:

        def on_count(count: int) -> None:
            rate = count / max(time.monotonic() - began_s, 0.001)
            of = f" of {total:,}" if total else ""
            left = pace(rate, total - count if total else 0)
            gauge.show(count, f"{count:,}{of} tasks submitted  {left}")

        return store_counted(client.link, rows, given, on_count)


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
