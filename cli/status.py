"""How is the cluster? One screen, problems first."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from ..protocol.errors import RemudaError
from ..protocol.nodes_said import by_text, in_short
from . import gpu_drawing, nodes, screen, views
from .commands import Session, command
from .refs import STATES, TERMINAL
from .writing import counted, span

OK, WARNING, CRITICAL = 0, 1, 2
NODES_SHOWN_MAX = 20
Document = Mapping[str, Any]


@command("status", example="remuda status\nremuda status --check || page-somebody")
def status(
    session: Session,
    check: Annotated[
        bool,
        typer.Option("--check", help="For monitoring: one line; exit code 0, 1 or 2."),
    ] = False,
) -> int:
    """Show the cluster on one screen: problems, tasks, nodes."""
    from ..client import control

    try:
        with session.connect() as link:
            body = control.status(link)
            endpoint = link.endpoint
    except RemudaError as error:
        if not check:
            raise
        screen.line(f"CRITICAL: {error}")
        return CRITICAL
    rows = list(body.get("nodes", []))
    grade, found = problems(body, rows)
    if session.json:
        screen.document(_json(body, rows, endpoint, found))
    elif check:
        word = ("OK", "WARNING", "CRITICAL")[grade]
        screen.line(f"{word}: {'; '.join(found) or _nodes_line(rows)}")
    elif session.quiet:
        screen.line(str(body["cluster"]))
    else:
        _page(body, rows, endpoint, found)
    return grade if check else OK


def problems(body: Document, rows: list[dict[str, Any]]) -> tuple[int, list[str]]:
    """Grade a cluster and say what is wrong with it."""
    found = [str(each) for each in body.get("problems", [])]
    found += _of_the_scheduler(body)
    bad = [row for row in rows if nodes.state_of(row) != "ready"]
    found += [
        f"{_these(names)} {text}"
        for text, names in by_text((str(row["name"]), _trouble(row)) for row in bad).items()
    ]
    found += [
        f"{text} on {in_short(names)}"
        for text, names in by_text(
            (str(row["name"]), f"handler {each.get('name')} failed ({each.get('error')})")
            for row in rows
            for each in row.get("handlers") or []
            if each.get("state") == "failed"
        ).items()
    ]
    if len(bad) == len(rows):
        waiting = _counts(body).get("queued", 0)
        found.insert(0, "no node is ready" + (f", {waiting:,} queued" if waiting else ""))
        return CRITICAL, found
    return (WARNING if found else OK), found


def _these(names: list[str]) -> str:
    if len(names) == 1:
        return f"node {names[0]}"
    return f"each of {len(names):,} nodes ({in_short(names)})"


def _of_the_scheduler(body: Document) -> list[str]:
    """Say what keeps the scheduler itself from working as it does on good days."""
    found = [f"the scheduler gives no work out: {reason}" for reason in body.get("holds") or []]
    if fuse := list(body.get("fuse") or []):
        found.append(
            f"{counted(len(fuse), 'node')} fell silent at once ({in_short(fuse)}): "
            "nobody is given up before they are heard; `remuda node lost NAME` moves the tasks of "
            "one that is off"
        )
    config = body.get("config") or {}
    version = config.get("version")
    late = [each for each in config.get("behind") or [] if each["state"] != "away"]
    store = str((config.get("store") or {}).get("state"))
    found += [f"the store {_LATE[store]} {_config(version)}"] if store in _LATE else []
    found += [
        f"{_these(names)} {_LATE.get(state, state)} {_config(version)}"
        for state, names in by_text((str(each["name"]), each["state"]) for each in late).items()
    ]
    if left_ms := body.get("reconciling_ms") or 0:
        found.append(
            f"the scheduler waits {span(left_ms / 1000)} more for nodes that it knows: "
            "until then none is given up"
        )
    return found


def _config(version: object) -> str:
    return f"version {version} of the configuration: `remuda config status` says why"


_LATE = {
    "behind": "has not confirmed",
    "refused": "refuses",
    "cannot": "is too old to hear of",
}


def _trouble(row: Document) -> str:
    """Say what is the matter with a node that is not ready."""
    state = nodes.state_of(row)
    if state in ("draining", "drained"):
        note, left = nodes.note_of(row), nodes.tasks_left(row)
        said = f"is {state}" + (f" ({counted(left, 'task')} left)" if left else "")
        return f"{said}: {note}" if note else said
    if state == "lost" and (left := nodes.tasks_left(row)):
        one_of = "1 of its tasks stays" if left == 1 else f"{left:,} of its tasks stay"
        return f"is lost: {one_of} there until known to be over, the others run elsewhere"
    return {
        "suspect": "is silent: it gets no new work",
        "lost": "is lost: its tasks run elsewhere",
        "unheard": "was not heard since the scheduler started",
    }.get(state, f"is {state}")


def _page(body: Document, rows: list[dict[str, Any]], endpoint: str, found: list[str]) -> None:
    from rich.text import Text

    head = Text(str(body["cluster"]), "bold")
    version = f"remuda {body.get('version', '?')}, epoch {body.get('epoch', '?')}"
    head.append(f"  {endpoint}  {version}", "dim")
    if body.get("started_ms"):
        head.append(f"  up {span(time.time() - body['started_ms'] / 1000)}", "dim")
    screen.trimmed(head)
    screen.line()
    for text in found:
        screen.trimmed(screen.styled(f"! {text}", "bold red"))
    if found:
        screen.line()
    _tasks(_counts(body))
    screen.line()
    if rows:
        nodes.table(rows[:NODES_SHOWN_MAX])
        if any(row.get("gpus") for row in rows):
            screen.line()
            gpu_drawing.overview(rows[:NODES_SHOWN_MAX])
    for kept in body.get("reservations") or []:
        screen.trimmed(gpu_drawing.kept_text(kept, time.time() * 1000))
    more = int(body.get("nodes_total", len(rows))) - NODES_SHOWN_MAX
    if more > 0:
        screen.line(f"and {counted(more, 'node')} more: remuda node list")


def _tasks(counts: Mapping[str, int]) -> None:
    """Print the counts by state on two lines: what goes on, and what has ended."""
    from rich.text import Text

    for title, ended in (("active", False), ("ended", True)):
        words = [word for word in STATES if (word in TERMINAL) == ended]
        line = Text(f"{title:8}", "dim")
        line.append(f"{sum(counts.get(word, 0) for word in words):,}", "bold")
        for word in words:
            number = counts.get(word, 0)
            style = screen.STATE_STYLES[word] if number else "dim"
            line.append(f"   {word} {number:,}", style)
        screen.trimmed(line)


def _counts(body: Document) -> dict[str, int]:
    return dict(body.get("counts") or {})


def _nodes_line(rows: list[dict[str, Any]]) -> str:
    return f"{counted(len(rows), 'node')} ready"


def _json(
    body: Document, rows: list[dict[str, Any]], endpoint: str, found: list[str]
) -> dict[str, Any]:
    plain = views.plain(body)
    return {
        **plain,
        "endpoint": endpoint,
        "problems": found,
        "nodes": [nodes.node(row) for row in rows],
        "reservations": [views.reservation(each) for each in body.get("reservations") or []],
    }
