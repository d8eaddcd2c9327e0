"""What is shown of batches: how many of their tasks are where, how fast they end, what failed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import following, screen, views
from .commands import Session, command
from .gauge import pace
from .refs import STATES, TERMINAL, one_batch
from .writing import age, bar, counted, one_line, rfc3339, row_id

if TYPE_CHECKING:
    from ..client.connection import Connection

LIMIT_MAX = 1_000
PAGE_BATCHES = 100
ID_SHOWN_FROM = 110
COLUMNS = (
    screen.Column("ID"),
    screen.Column("NAME", wide=True),
    screen.Column("ENDED"),
    screen.Column("OF", right=True),
    screen.Column("FAILED", right=True),
    screen.Column("PACE"),
    screen.Column("AGE", right=True),
    screen.Column("OWNER"),
)
Row = Mapping[str, Any]


@command("batch list", example="remuda batch list --active\nremuda batch list --owner ann --json")
def batch_list(
    session: Session,
    active: Annotated[bool, typer.Option("--active", help="Only those with open tasks.")] = False,
    owner: Annotated[str, typer.Option(metavar="NAME", help="Only of this owner.")] = "",
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=LIMIT_MAX, help="How many to show.")
    ] = PAGE_BATCHES,
    cursor: Annotated[
        str, typer.Option(metavar="CURSOR", help="Go on where the last page ended.")
    ] = "",
) -> None:
    """List batches, newest first: how far they are and how fast they go."""
    with session.connect() as link:
        rows, more = _pages(link, active=active, owner=owner, limit=limit, cursor=cursor)
    if session.json:
        screen.document([views.batch(row) for row in rows])
    elif session.quiet:
        for row in rows:
            screen.line(row_id(row))
        return
    elif rows:
        now_ms = time.time() * 1000
        screen.table(COLUMNS, [_cells(row, now_ms) for row in rows])
    if more:
        screen.remark(f"{len(rows):,} shown; more: --cursor {more}")
    elif not rows:
        screen.remark("no batches")


@command("batch show", example="remuda batch show last\nremuda batch show --follow")
def batch_show(
    session: Session,
    batch: Annotated[str, typer.Argument(metavar="[BATCH]", help="Its id, or `last`.")] = "last",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until its tasks have ended.")
    ] = False,
) -> int:
    """Show a batch: counts per state, rate, time left, and its first failures.

    With --follow a bar shows how far it is; Ctrl-C only stops looking. The exit code is 1 then
    if not all of its tasks succeeded.
    """
    from ..client import control

    code = 0
    with session.connect() as link:
        key = one_batch(link, batch)
        if follow:
            code, looks = following.follow(session, link, [key])
            if not looks:
                return code
        body = control.show_batch(link, key)
    if session.json:
        screen.document(
            {**views.batch(body), "failures": [_failure(row) for row in body["failures"]]}
        )
    elif session.quiet:
        screen.line(row_id(body))
    else:
        _page(body)
    return code


def _pages(
    link: Connection, *, active: bool, owner: str, limit: int, cursor: str
) -> tuple[list[Row], str]:
    """Collect pages, which a scheduler that has looked through many batches ends early."""
    from ..client import control

    rows: list[Row] = []
    while True:
        asked = min(limit - len(rows), PAGE_BATCHES)
        page = control.list_batches(link, active=active, owner=owner, limit=asked, cursor=cursor)
        rows += page.rows
        cursor = page.cursor
        if not cursor or len(rows) >= limit:
            return rows, cursor


def _cells(row: Row, now_ms: float) -> list[Any]:
    counts = row["counts"]
    ended = _ended(counts)
    failed = counts.get("failed", 0)
    return [
        screen.styled(row_id(row), "" if row["open"] else "dim"),
        one_line(row.get("name", ""), 60),
        f"{bar(ended, ended + row['open'])} {ended:,}",
        f"{row['total']:,}",
        screen.styled(f"{failed:,}", "bold red") if failed else "-",
        pace(row["rate"], row["open"]) if row["open"] else "",
        age((now_ms - row["created_ms"]) / 1000),
        row.get("owner", ""),
    ]


def _ended(counts: Mapping[str, int]) -> int:
    return sum(counts.get(word, 0) for word in TERMINAL)


def _failure(row: Row) -> dict[str, Any]:
    return {**views.task(row), "message": row.get("message")}


def _page(body: Row) -> None:
    counts: Counter[str] = Counter(body["counts"])
    total = int(body["total"])
    ended, known = _ended(counts), counts.total()
    name = f"  {one_line(body['name'], 80)}" if body.get("name") else ""
    screen.trimmed(screen.styled(f"batch {row_id(body)}{name}", "bold"))
    screen.line(f"{bar(ended, known, 24)} {ended:,} of {counted(known, 'task')} ended")
    screen.facts(
        [
            ("pace", pace(body.get("rate"), body.get("open", 0)) if ended < known else ""),
            ("owner", body.get("owner", "")),
            ("created", rfc3339(body.get("created_ms"))),
            *((word, f"{counts[word]:,}") for word in STATES if counts[word]),
            ("pruned", f"{total - known:,}" if total > known else ""),
        ]
    )
    if body["failures"]:
        screen.line()
        columns = (
            screen.Column("FAILED"),
            screen.Column("CODE"),
            screen.Column("NODE"),
            screen.Column("MESSAGE", wide=True),
        )
        screen.table(columns, [_failure_cells(row) for row in body["failures"]])
        if counts["failed"] > len(body["failures"]):
            screen.remark(
                f"and {counts['failed'] - len(body['failures']):,} more: "
                f"remuda task list --batch {row_id(body)} --state failed"
            )


def _failure_cells(row: Row) -> list[str]:
    message = one_line(row.get("message") or "")
    return [row_id(row), row.get("code", ""), row.get("node") or "-", message]
