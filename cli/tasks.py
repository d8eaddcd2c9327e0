"""The verbs that look at tasks: list, show, explain. (Others: task_*.py.)"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..protocol.resources import format_bytes
from . import (
    screen,
    task_changes,
    task_export,
    task_get,
    task_output,
    task_prune,
    task_reach,
    views,
)
from .commands import Session, command
from .refs import TERMINAL, Filters, listing, name_unknown, select_one
from .screen import Column
from .task_page import show_explanation, show_failure, show_task
from .writing import age, one_line, row_id, span

if TYPE_CHECKING:
    from ..client.connection import Connection

# They register their commands when they are loaded.
__all__ = ["task_changes", "task_export", "task_get", "task_output", "task_prune", "task_reach"]

LIMIT_DEFAULT = 100
LIMIT_MAX = 1_000
FAILURE_KEYS = ("code", "attempts", "budgets")
ID_SHOWN_FROM = 120  # columns; numbers do where a terminal has fewer
COLUMNS = (
    Column("NUMBER", right=True),
    Column("NAME", wide=True),
    Column("STATE"),
    Column("NODE"),
    Column("TRY", right=True),
    Column("AGE", right=True),
    Column("TOOK", right=True),
    Column("OWNER"),
    Column("ID"),
)
Limit = Annotated[int, typer.Option(metavar="N", min=1, max=LIMIT_MAX, help="Rows to show.")]
Cursor = Annotated[str, typer.Option(metavar="CURSOR", help="Go on where the last page ended.")]
Ref = Annotated[str, typer.Argument(metavar="TASK", help="An id, a number or `last`.")]
NewestRef = Annotated[
    str, typer.Argument(metavar="[TASK]", help="An id or a number (default: `last`).")
]


@command(
    "task list",
    example="remuda task list --state failed --limit 20\nremuda task list --active --json",
)
def task_list(
    session: Session, filters: Filters, limit: Limit = LIMIT_DEFAULT, cursor: Cursor = ""
) -> None:
    """List tasks in every state, newest first."""
    with session.connect() as link:
        page = listing(link, filters, limit, cursor)
        if not (page.rows or session.quiet):
            name_unknown(link, node=filters.node, owner=filters.owner)
    if session.json:
        screen.document([views.task(row) for row in page.rows])
    elif session.quiet:
        for row in page.rows:
            screen.line(row_id(row))
        return
    else:
        _table(page.rows)
    _shown(len(page.rows), page.total, page.cursor)


@command("ps", example="remuda ps")
def ps(
    session: Session, filters: Filters, limit: Limit = LIMIT_DEFAULT, cursor: Cursor = ""
) -> None:
    """List the tasks that have not ended (short for `task list --active`).

    With --state: those in that state.
    """
    values = {name: getattr(filters, name) for name in Filters.__dataclass_fields__}
    task_list(session, Filters(**values | {"active": not filters.state}), limit, cursor)


@command("task show", example="remuda task show last\nremuda task show 12 --json")
def task_show(
    session: Session,
    task: Ref,
) -> None:
    """Show all that is known of a task, with every try."""
    from ..client import control

    with session.connect() as link:
        key = select_one(link, task)
        body = control.show_task(link, key)
        active = body["state"] not in TERMINAL
        reason = str(control.explain(link, key).get("reason", "")) if active else ""
    if session.json:
        screen.document(views.task_in_full(body) | {"value": views.plain(value_of(link, body))})
    elif session.quiet:
        screen.line(row_id(body))
    else:
        show_task(body, reason, value_of(link, body))


@command("task explain", example="remuda task explain 12")
def task_explain(session: Session, task: Ref) -> None:
    """Say why a task is where it is.

    What it waits for, and which nodes refused it and why; of one that failed its tries, the
    retries that were used up, and the last that it wrote.
    """
    from ..client import control

    with session.connect() as link:
        key = select_one(link, task)
        body = control.explain(link, key)
        ended = control.show_task(link, key) if body["state"] == "failed" else None
    if session.json:
        shown = {} if ended is None else {key: ended[key] for key in FAILURE_KEYS if key in ended}
        screen.document(views.plain(body | shown) | {"id": row_id(body)})
    elif ended is not None:
        show_failure(ended)
    else:
        show_explanation(body)


@command("why", example="remuda why last")
def why(session: Session, task: NewestRef = "last") -> None:
    """Say why a task waits or failed (short for `task explain`)."""
    task_explain(session, task)


@dataclass(frozen=True, slots=True)
class InStore:
    """Stands for a value that is too large to be shown."""

    size: int

    def __repr__(self) -> str:
        return f"<{format_bytes(self.size)} in the store>"


def value_of(link: Connection, body: dict[str, Any]) -> Any:
    """Decode the value of a function that succeeded; None for all other tasks.

    A large one is not fetched, but told of.
    """
    from ..client import outcome, received
    from ..protocol.errors import RemudaError

    blob = body.get("value") or b""
    if body["state"] != "succeeded" or not blob:
        return None
    size = received.far_size(blob)
    if size is not None:
        return InStore(size)
    key = body["id"]
    far = received.Far(link, key)  # which names files, and fetches none
    try:
        return outcome.value_of(outcome.Standing(key, "succeeded", value=blob), "", far)
    except RemudaError as error:
        return str(error)


def _table(rows: list[dict[str, Any]]) -> None:
    now_ms = int(time.time() * 1000)
    shown = len(COLUMNS) if screen.columns_shown() >= ID_SHOWN_FROM else len(COLUMNS) - 1
    screen.table(COLUMNS[:shown], [_cells(row, now_ms)[:shown] for row in rows])


def _cells(row: dict[str, Any], now_ms: int) -> list[Any]:
    return [
        str(row["number"]),
        one_line(row.get("name", ""), 60),
        state_cell(row),
        row.get("node") or "-",
        str(row.get("attempt") or "-"),
        age((now_ms - row["created_ms"]) / 1000),
        took(row, now_ms),
        row.get("owner", ""),
        screen.styled(row_id(row), "dim"),
    ]


def state_cell(row: dict[str, Any]) -> Any:
    """Return the state with what makes it clearer: progress, or how it failed."""
    text = screen.state(row["state"])
    done = views.progress(row)
    if row["state"] == "running" and done is not None:
        text.append(f" {done:.0%}")
    elif row["state"] == "failed" and row.get("code"):
        text.append(f" ({row['code']})", "red")
    return text


def took(row: dict[str, Any], now_ms: int) -> str:
    """Write how long the last try took, or takes so far."""
    started, ended = row.get("started_ms", 0), row.get("ended_ms", 0)
    if not started:
        return "-"
    if ended:
        return span((ended - started) / 1000)
    return span((now_ms - started) / 1000) if row["state"] not in TERMINAL else "-"


def _shown(rows: int, total: int, cursor: str) -> None:
    """Say how many of how many were shown, to people only."""
    if rows < total or cursor:
        remark = f"{rows:,} of {total:,} shown"
        screen.remark(f"{remark}; more: --cursor {cursor}" if cursor else remark)
    elif total == 0:
        screen.remark("no tasks")
