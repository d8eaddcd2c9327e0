"""What is shown of what happened on a cluster: one line each, for as long as somebody looks."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..protocol.errors import Invalid
from . import screen
from .commands import Session, command
from .refs import name_unknown, select
from .writing import one_line

if TYPE_CHECKING:
    from ..client.connection import Connection
    from ..client.feed import Event

TEXT_CHARS = 300
KIND_CELLS = 19
WHERE_CELLS = 8
STYLES = {"info": "", "warning": "yellow", "error": "bold red"}


@command(
    "events",
    example="remuda events --follow\nremuda events --kind node --since 1h\n"
    "remuda events --task 12 --json",
)
def events(
    session: Session,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what happens from now on.")
    ] = False,
    node: Annotated[str, typer.Option(metavar="NODE", help="Only of this node.")] = "",
    task: Annotated[
        str, typer.Option(metavar="TASK", help="Only of this task, or of this batch.")
    ] = "",
    kind: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND", help="Only of this kind: node, task.failed; repeatable."),
    ] = None,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Only what happened so long ago at most: 10m.")
    ] = "",
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=1_000, help="How many of the newest to show.")
    ] = 100,
) -> None:
    """Show what happened: tasks that failed, nodes that came and went.

    The scheduler keeps the newest in memory: a restart forgets them. With --follow and --json,
    each event is one line.
    """
    from ..client import feed

    shown = 0
    with session.connect() as link:
        found = feed.events(
            link,
            follow=follow,
            since=since,
            node=node,
            kinds=kind or (),
            limit=limit,
            **_of_task(link, task),
        )
        if session.json and not follow:
            screen.document([row(each) for each in found])
            return
        for each in found:
            _print(each, as_json=session.json)
            shown += 1
        if not (shown or session.quiet):
            name_unknown(link, node=node)
    if not shown and not session.quiet:
        screen.remark("no events")


def row(event: Event) -> dict[str, Any]:
    """Return an event for programs."""
    return {
        "seq": event.seq,
        "at": event.at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{event.at.microsecond // 1000:03}Z",
        "kind": event.kind,
        "level": event.level,
        "text": event.text,
        "node": event.node or None,
        "task": event.task or None,
        "owner": event.owner or None,
        "attempt": event.attempt or None,
        "code": event.code or None,
    }


def _print(event: Event, *, as_json: bool) -> None:
    """Write one line and let it be read: whoever follows does not wait for the next one."""
    if as_json:
        screen.line(json.dumps(row(event), ensure_ascii=False))
    else:
        where = "  ".join(filter(None, (event.node, event.task)))
        text = f"{event.at:%Y-%m-%d %H:%M:%SZ}  {event.kind:<{KIND_CELLS}}  {where:<{WHERE_CELLS}}"
        line = f"{text}  {one_line(event.text, TEXT_CHARS)}"
        screen.trimmed(screen.styled(line, STYLES.get(event.level, "")))
    sys.stdout.flush()


def _of_task(link: Connection, ref: str) -> dict[str, bytes]:
    if not ref:
        return {}
    found = select(link, [ref])
    if found.batches:
        return {"batch": found.batches[0][0]}
    if len(found.tasks) != 1:
        raise Invalid(f"{ref} means several tasks: name one of them, or a batch", field="task")
    return {"task": found.tasks[0]}
