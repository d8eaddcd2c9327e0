"""The verbs about named handlers: look at them, load them anew, give them calls or none."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..protocol.errors import Invalid
from . import handler_drawing, screen
from .commands import Session, command
from .one_by_one import change_each
from .pages import page
from .task_options import duration_s
from .writing import counted

if TYPE_CHECKING:
    from ..client.connection import Connection

FAILED, TIMED_OUT = 1, 124
BAD = ("failed", "unavailable", "away", "disabled")
Row = Mapping[str, Any]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of a handler.")]
Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of handlers.")]
Node = Annotated[
    str, typer.Option(metavar="NAME", help="On this node only; else on all that have it.")
]


@command("handler list", example="remuda handler list\nremuda handler list --node gpu-1 --json")
def handler_list(
    session: Session,
    node: Annotated[str, typer.Option(metavar="NAME", help="Only handlers of this node.")] = "",
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=10_000, help="Rows to show.")] = 100,
    cursor: Annotated[str, typer.Option(metavar="NAME", help="Go on after this handler.")] = "",
) -> None:
    """List the named handlers: where declared, how they do on their nodes, VRAM, calls.

    CALLS are those granted since the scheduler started, VRAM what was measured of its loaded
    models, LAST when a call was granted last.
    """
    from ..client import handlers

    with session.connect() as link:
        rows = handlers.list_handlers(link, node=node)
    shown, more = page(rows, lambda row: str(row["name"]), limit, cursor)
    if session.json:
        screen.document([handler_drawing.plain(row) for row in shown])
    elif session.quiet:
        for row in shown:
            screen.line(str(row["name"]))
    elif shown:
        handler_drawing.table(shown, time.time())
    else:
        screen.remark(
            "no handlers: declare one with [handlers.NAME] in the configuration of the scheduler "
            "or of a node"
        )
    if more and not session.quiet:
        screen.remark(more)


@command("handler show", example="remuda handler show inpaint")
def handler_show(session: Session, name: Name, node: Node = "") -> None:
    """Show one handler on each of its nodes: its models in memory, and why it takes no calls."""
    from ..client import handlers

    if not name:  # which would ask for all of them
        raise Invalid("NAME is empty: `remuda handler list` shows those there are", field="name")
    with session.connect() as link:
        (row, *_) = handlers.list_handlers(link, name, node)
    if session.json:
        screen.document(handler_drawing.plain(row))
    elif session.quiet:
        screen.line(str(row["name"]))
    else:
        handler_drawing.page(row, time.time())


@command(
    "handler reload",
    example="remuda handler reload inpaint\n"
    "remuda handler reload inpaint --node gpu-1 --timeout 5m",
)
def handler_reload(
    session: Session,
    name: Name,
    node: Node = "",
    timeout: Annotated[
        str, typer.Option(metavar="TIME", help="Give up the wait after this long (exit code 124).")
    ] = "",
) -> int:
    """Load a handler anew: new code, new weights; one that failed is tried at once.

    Its workers end after the calls that they run. It waits until each node has confirmed that;
    Ctrl-C only stops looking. Exit code 1 when it does not load on one, 124 at the timeout.
    """
    from ..client import handlers

    timeout_s = duration_s("timeout", timeout)
    with session.connect() as link:
        asked, passed_over = handlers.reload(link, name, node=node)
        if not session.quiet:
            for other, why in passed_over.items():
                screen.remark(f"{link.cluster}: {other} is passed over: it {why}")
        told: set[str] = set()
        try:
            found = handlers.wait_reloaded(
                link, name, asked, lambda look: _tell(session, link, name, look, asked, told),
                timeout_s or None,
            )  # fmt: skip
        except TimeoutError as error:
            screen.remark(f"remuda: {error}: `remuda handler show {name}` tells how it goes on")
            return TIMED_OUT
    if session.json:
        screen.document([handler_drawing.node_plain(row) for row in found.values()])
    is_bad = any(row["state"] in BAD for row in found.values())
    return FAILED if is_bad or not asked else 0


def _tell(
    session: Session,
    link: Connection,
    name: str,
    look: Mapping[str, Row],
    asked: Mapping[str, int],
    told: set[str],
) -> None:
    """Say of each node once for which calls it waits, and once that it is done."""
    from ..client import handlers

    for node, row in look.items():
        if handlers.is_done(row, asked[node]):
            if node not in told and not session.json:
                text = f"{node} has loaded handler {name} anew: {row['state']}"
                if row["state"] in BAD:
                    text = f"handler {name} is {row['state']} on {node}: {row['why']}"
                screen.line(node if session.quiet else f"{link.cluster}: {text}")
                sys.stdout.flush()
            told.add(node)
        elif row["running"] and f"{node} waits" not in told and not session.quiet:
            told.add(f"{node} waits")
            screen.remark(f"{node}: {counted(row['running'], 'call')} may end before")


@command(
    "handler disable",
    example="remuda handler disable inpaint --reason 'bad weights'\n"
    "remuda handler disable inpaint --node gpu-1",
)
def handler_disable(
    session: Session,
    names: Names,
    node: Node = "",
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for all who look.")] = "",
) -> None:
    """Give handlers no new calls; what runs ends, then their models leave the GPUs.

    It holds over restarts of all daemons, until `remuda handler enable`. Calls wait meanwhile,
    unless another node has the handler.
    """
    from ..client import handlers

    with session.connect() as link:
        change_each(
            session,
            link,
            names,
            lambda name: handlers.disable(link, name, node=node, reason=reason),
            key="handler",
        )


@command("handler enable", example="remuda handler enable inpaint")
def handler_enable(session: Session, names: Names, node: Node = "") -> None:
    """Give handlers calls again, wherever they were disabled."""
    from ..client import handlers

    with session.connect() as link:
        change_each(
            session, link, names, lambda name: handlers.enable(link, name, node=node), key="handler"
        )
