"""How does `submit` bring many tasks: from indices or from lines, with a bar while they travel?"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..protocol.errors import Invalid
from . import screen
from .commands import Session
from .entries import Entries
from .gauge import Gauge, pace
from .task_options import array
from .writing import counted

if TYPE_CHECKING:
    from ..client.client import Client
    from ..client.stream import Row, Unwatched


def submit_array(
    session: Session, client: Client, command: list[str], indices: str, given: dict[str, Any]
) -> Unwatched:
    """Submit a command for each index."""
    from ..client.batch_verbs import array_rows

    found = array(indices)
    return _store(session, client, array_rows(command, found, given), len(found), given)


def submit_each_line(
    session: Session, client: Client, command: list[str], path: str, given: dict[str, Any]
) -> Unwatched:
    """Submit a command for each line of a file.

    Every line of a file is checked before the first is sent; what a pipe brings is sent as it
    comes, and called off if a line is none.
    """
    from ..client.batch_verbs import entry_rows

    entries = Entries(path)
    total = entries.count()
    rows = entry_rows(command, entries, given)
    stored = _store(session, client, rows, total, given)
    if entries.skipped and not session.quiet:
        screen.remark(f"{entries.name}: skipped {counted(entries.skipped, 'blank line')}")
    if not stored.count:
        raise Invalid(f"{entries.name} has no entries: nothing was submitted", field="each-line")
    return stored


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


def tell(session: Session, client: Client, stored: Unwatched) -> None:
    """Say what was submitted; the id comes last."""
    if session.json:
        screen.document({"batch": stored.id, "tasks": stored.count})
    else:
        if not session.quiet:
            screen.remark(f"submitted a batch of {counted(stored.count, 'task')} to {client.name}")
        screen.line(stored.id)
    sys.stdout.flush()
