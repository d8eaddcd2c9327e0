"""The verbs that change nodes: drain, undrain, lost, forget."""

from __future__ import annotations

import difflib
import fnmatch
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from ..protocol.errors import NotFound
from .commands import Session, command
from .one_by_one import change_each
from .refs import ask, confirm
from .task_options import duration_s
from .writing import age, counted

Row = Mapping[str, Any]
HEARD_STATES = ("ready", "draining", "drained")
Names = Annotated[
    list[str], typer.Argument(metavar="NODE...", help="Names of nodes, or patterns like 'gpu-*'.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@command(
    "node drain",
    example="remuda node drain gpu-1 --reason 'new disk' --deadline 30m --wait\n"
    "remuda node drain 'rack3-*'",
)
def node_drain(
    session: Session,
    nodes: Names,
    deadline: Annotated[
        str,
        typer.Option(metavar="TIME", help="What is left after this long is stopped and requeued."),
    ] = "",
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for all who look.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait until nothing is left there.")] = False,
    yes: Yes = False,
) -> int:
    """Give nodes no new work; what runs there goes on.

    It holds over restarts of all daemons, until `remuda node undrain`. What is left at the
    deadline runs elsewhere and loses none of its tries. Draining again changes the reason or the
    deadline if it gives one. Ctrl-C at --wait only stops looking.
    """
    from ..client import control
    from .drain_progress import wait_drained

    deadline_s = duration_s("deadline", deadline)
    with session.connect() as link:
        names = [row["name"] for row in chosen(control.list_nodes(link), nodes)]
        confirm(len(names), "drain", yes=yes, noun="node")
        change_each(
            session,
            link,
            names,
            lambda name: control.drain(link, name, reason=reason, deadline_s=deadline_s),
            key="name",
        )
        return wait_drained(session, link, names) if wait else 0


@command("node undrain", example="remuda node undrain gpu-1 gpu-2")
def node_undrain(session: Session, nodes: Names, yes: Yes = False) -> None:
    """Give nodes work again."""
    from ..client import control

    with session.connect() as link:
        names = [row["name"] for row in chosen(control.list_nodes(link), nodes)]
        confirm(len(names), "undrain", yes=yes, noun="node")
        change_each(session, link, names, lambda name: control.undrain(link, name), key="name")


@command("node lost", example="remuda node lost gpu-1 --yes")
def node_lost(
    session: Session,
    nodes: Annotated[
        list[str], typer.Argument(metavar="NODE...", help="Names of nodes that you saw to be off.")
    ],
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="I saw that it is off; do not ask.")
    ] = False,
) -> None:
    """Say that a node is off: its tasks run elsewhere at once.

    Fenced and cancelled ones as well. If it is on after all, they run twice; so a node that is
    heard is refused (exit code 1): stop it or drain it. One that comes back is taken in again.
    """
    from ..client import control

    with session.connect() as link:
        rows = chosen(control.list_nodes(link), nodes, patterns=False)
        for row in rows if not yes else ():
            if row["state"] not in HEARD_STATES:  # the scheduler refuses those
                _ask_if_off(row)
        names = [row["name"] for row in rows]
        change_each(session, link, names, lambda name: control.declare_lost(link, name), key="name")


@command("node forget", example="remuda node forget gpu-1\nremuda node forget 'old-*' --yes")
def node_forget(session: Session, nodes: Names, yes: Yes = False) -> None:
    """Strike nodes that are gone from the list.

    What one of them held runs elsewhere at once, as with `remuda node lost`. A node that was
    forgotten and comes back is a new one: not drained, for one thing.
    """
    from ..client import control

    with session.connect() as link:
        rows = chosen(control.list_nodes(link), nodes)
        confirm(len(rows), "forget", yes=yes, noun="node")
        for row in rows if not yes else ():
            if row["state"] not in HEARD_STATES and _holds(row):
                _ask_if_off(row)
        names = [row["name"] for row in rows]
        change_each(session, link, names, lambda name: control.forget_node(link, name), key="name")


def chosen(rows: Sequence[Row], words: Sequence[str], *, patterns: bool = True) -> list[Row]:
    """Find the nodes that are meant by names and patterns; raises NotFound."""
    known = {str(row["name"]): row for row in rows}
    found: dict[str, Row] = {}
    for word in words:
        is_pattern = patterns and any(char in word for char in "*?[")
        names = sorted(fnmatch.filter(known, word)) if is_pattern else [word] * (word in known)
        if not names:
            near = difflib.get_close_matches(word, known, 1)
            hint = f": did you mean {near[0]}?" if near else ""
            raise NotFound(f"there is no node {word}{hint}", field="node")
        found.update((name, known[name]) for name in names)
    return list(found.values())


def _holds(row: Row) -> int:
    return int(row.get("running", 0)) + int(row.get("backlog", 0))


def _ask_if_off(row: Row) -> None:
    """Have a person say that a node is off, for what it runs would run twice."""
    silent = f", not heard for {age(time.time() - row['seen_ms'] / 1000)}" * bool(row["seen_ms"])
    said = f"{row['name']} is {row['state']}{silent}, holds {counted(_holds(row), 'task')}"
    ask(
        f"{said}: if it is on, they run twice",
        otherwise=f"{said}, which would run twice if it is on: add --yes if you saw that it is off",
    )
