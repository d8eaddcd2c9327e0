"""The verb that removes what has ended before its time."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from ..protocol.errors import Invalid
from . import screen
from .commands import Session, command
from .refs import Filters, as_listed, confirm, name_unknown, select
from .task_changes import Refs, Yes
from .task_options import duration_s
from .writing import counted


@command(
    "task prune",
    example="remuda task prune --older 7d\nremuda task prune --state failed --tag team=a\n"
    "remuda task prune BATCH --yes",
)
def task_prune(
    session: Session,
    filters: Filters,
    tasks: Refs = None,
    older: Annotated[
        str, typer.Option(metavar="TIME", help="Only what ended so long ago: 12h, 7d.")
    ] = "",
    yes: Yes = False,
) -> None:
    """Remove tasks that have ended, with their results and output.

    What has not ended is never touched. Keys of `--once` keep their meaning: a task that was
    submitted under one does not run again.
    """
    from ..client import pruning

    older_s = duration_s("older", older, bare=False)
    with session.connect() as link:
        wanted: dict[str, Any]
        if tasks:
            if older or filters.given:
                raise Invalid("name tasks or say which with filters and --older, not both")
            chosen = select(link, tasks)
            named = {"tasks": chosen.tasks, "batches": [batch for batch, _ in chosen.batches]}
            wanted = named
        elif older or filters.given:
            before_ms = round((time.time() - older_s) * 1000) if older_s is not None else 0
            wanted = {"filters": as_listed(link, filters), "before_ms": before_ms}
        else:
            raise Invalid("which tasks? Name them, or say which with filters and --older 7d")
        found = pruning.prune(link, **wanted, dry_run=True)
        confirm(found["removed"], "remove", yes=yes)
        done = pruning.prune(link, **wanted) if found["removed"] else found
        if not (done["removed"] or session.quiet):
            name_unknown(link, node=filters.node, owner=filters.owner)
        name = link.cluster
    if session.json:
        screen.document({word: done[word] for word in ("removed", "open", "unknown")})
    elif not session.quiet:
        kept = f"; {counted(done['open'], 'task')} not ended, kept" if done["open"] else ""
        screen.line(f"{name}: removed {counted(done['removed'], 'task')}{kept}")
