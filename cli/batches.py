"""What is shown of a batch: how many of its tasks are where, and the first that failed."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from . import screen, views
from .commands import Session, command
from .refs import STATES, one_batch
from .writing import bar, counted, one_line, rfc3339, row_id


@command("batch show", example="remuda batch show last")
def batch_show(
    session: Session,
    batch: Annotated[str, typer.Argument(metavar="[BATCH]", help="Its id, or `last`.")] = "last",
) -> None:
    """Show a batch: counts per state, and its first failures."""
    from ..client import control

    with session.connect() as link:
        body = control.show_batch(link, one_batch(link, batch))
    if session.json:
        rows = [views.task(row) for row in body.get("failures", [])]
        screen.document({**views.plain(body), "id": row_id(body), "failures": rows})
        return
    if session.quiet:
        screen.line(row_id(body))
        return
    _page(body)


def _page(body: dict[str, Any]) -> None:
    counts, total = body.get("counts", {}), int(body["total"])
    ended = sum(counts.get(word, 0) for word in STATES[-3:])
    name = f"  {one_line(body.get('name', ''), 80)}" if body.get("name") else ""
    screen.trimmed(screen.styled(f"batch {row_id(body)}{name}", "bold"))
    screen.line(f"{bar(ended, total, 24)} {ended:,} of {counted(total, 'task')} ended")
    screen.facts(
        [
            ("owner", body.get("owner", "")),
            ("created", rfc3339(body.get("created_ms"))),
            *((word, f"{counts[word]:,}") for word in STATES if counts.get(word)),
        ]
    )
    failures = body.get("failures", [])
    if failures:
        screen.line()
        columns = (screen.Column("FAILED"), screen.Column("WHY"), screen.Column("NODE"))
        screen.table(
            columns, [[row_id(row), row.get("code", ""), row.get("node", "")] for row in failures]
        )
