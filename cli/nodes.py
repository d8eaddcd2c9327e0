"""What is shown of nodes: a table, and one node in full. (What changes them: node_changes.py.)"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from ..protocol.resources import MILLI, format_bytes
from . import gpu_drawing, node_changes, screen, views
from .commands import Session, command
from .screen import Column
from .writing import age, ahead, bar, counted, one_line, rfc3339, span

__all__ = ["node_changes"]  # they register their commands when they are loaded

Row = Mapping[str, Any]
BAR_CELLS = 6
MEANINGS = {
    "draining": "it gets no new work, and still has tasks",
    "drained": "it gets no new work, and nothing is left there: `remuda node undrain` ends that",
    "suspect": "it is silent, so it gets no new work",
    "lost": "it was given up: its tasks run elsewhere; it is taken in again when it comes back",
    "unheard": "it was not heard since the scheduler started",
}
COLUMNS = (
    Column("NODE"),
    Column("STATE"),
    Column("CPUS"),
    Column("MEMORY"),
    Column("GPUS", wide=True),
    Column("TASKS", right=True),
    Column("HEARD", right=True),
)
NOTE = Column("NOTE", wide=True)

HANDLER_COLUMNS = (
    Column("HANDLER"),
    Column("STATE"),
    Column("WORKERS", right=True),
    Column("MODELS"),
    Column("WHY", wide=True),
)


@command("node list", example="remuda node list\nremuda node list --json")
def node_list(
    session: Session,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=10_000, help="Rows to show.")] = 100,
    cursor: Annotated[str, typer.Option(metavar="NAME", help="Go on after this node.")] = "",
) -> None:
    """List the nodes, with what of them is in use."""
    from ..client import control

    with session.connect() as link:
        rows = sorted(control.list_nodes(link), key=lambda row: str(row["name"]))
    total = len(rows)
    rows = [row for row in rows if row["name"] > cursor][:limit]
    if session.json:
        screen.document([node(row) for row in rows])
    elif session.quiet:
        for row in rows:
            screen.line(row["name"])
    elif rows:
        table(rows)
    else:
        screen.remark("no nodes: start one with `remuda-node`")
    if len(rows) < total and not session.quiet:
        screen.remark(f"{len(rows):,} of {total:,} shown; more: --cursor {rows[-1]['name']}")


@command("node show", example="remuda node show node-1")
def node_show(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NODE", help="The name of a node.")],
) -> None:
    """Show one node: its resources, GPUs and handlers."""
    from ..client import control

    with session.connect() as link:
        row = control.list_nodes(link, name)[0]
    if session.json:
        screen.document(node(row))
    elif session.quiet:
        screen.line(row["name"])
    else:
        _page(row)


def node(row: Row) -> dict[str, Any]:
    """Return the row of a node for programs."""
    drain = row.get("drain") or {}
    told = {
        "reason": drain.get("reason", ""),
        "since_at": rfc3339(drain.get("since_ms")),
        "due_at": rfc3339(drain.get("due_ms")),
    }
    return {
        **views.plain(row),
        "state": state_of(row),
        "drain": told if drain else None,
        "gpus": [{**views.plain(gpu), "reserved": _reserved(gpu)} for gpu in row.get("gpus") or []],
        "reserved": _reserved(row),
    }


def _reserved(row: Row) -> list[dict[str, Any]]:
    return [views.reservation(each) for each in row.get("reserved") or []]


def state_of(row: Row) -> str:
    """Return the state of a node in a word."""
    return str(row.get("state", "unknown"))


def table(rows: list[dict[str, Any]]) -> None:
    """Print nodes as a table, with a column of remarks where there are any."""
    notes = [note_of(row) for row in rows]
    if any(notes):
        screen.table((*COLUMNS, NOTE), [[*_cells(r), n] for r, n in zip(rows, notes, strict=True)])
    else:
        screen.table(COLUMNS, [_cells(row) for row in rows])


def note_of(row: Row) -> str:
    """Say why a node is drained, and until when its tasks may stay."""
    drain = row.get("drain") or {}
    due_ms, left = drain.get("due_ms") or 0, tasks_left(row)
    parts = [one_line(str(drain.get("reason") or ""))]
    if due_ms and left:
        left_s = max(due_ms / 1000 - time.time(), 0)
        parts.append(f"tasks move on in {span(left_s)}")
    return "; ".join(part for part in parts if part)


def tasks_left(row: Row) -> int:
    """Count the tasks that a node has, in its own queue as well."""
    return int(row.get("running", 0)) + int(row.get("backlog", 0))


def _cells(row: Row) -> list[Any]:
    return [
        str(row["name"]),
        screen.state(state_of(row)),
        _cpus(row),
        _memory(row),
        gpus_in_short(row),
        str(row.get("running", 0)),
        heard(row),
    ]


def usage(used: float, whole: float) -> str:
    """Draw what is lent of a quantity: bar and figures."""
    return f"{bar(used, whole, BAR_CELLS)} {used:g}/{whole:g}"


def _cpus(row: Row) -> str:
    return usage(row.get("cpus_used_milli", 0) / MILLI, row.get("cpus_milli", 0) / MILLI)


def _memory(row: Row) -> str:
    used, whole = row.get("memory_used_bytes", 0), row.get("memory_bytes", 0)
    return f"{bar(used, whole, BAR_CELLS)} {format_bytes(used)}/{format_bytes(whole)}"


def gpus_in_short(row: Row) -> str:
    """Draw what is lent of all GPU memory and say which cards: `██···· 6GiB/48GiB 2 x L4`."""
    gpus = list(row.get("gpus") or [])
    if not gpus:
        return "-"
    whole = sum(int(gpu.get("memory_bytes", 0)) for gpu in gpus)
    used = sum(int(gpu.get("used_bytes", 0)) for gpu in gpus)
    names = Counter(str(gpu.get("name", "GPU")) for gpu in gpus)
    kinds = ", ".join(f"{number} x {name}" for name, number in names.items())
    return f"{bar(used, whole, BAR_CELLS)} {format_bytes(used)}/{format_bytes(whole)} {kinds}"


def heard(row: Row) -> str:
    """Say how long ago a node was heard."""
    if row.get("seen_s_ago") is not None:
        return age(float(row["seen_s_ago"]))
    seen_ms = row.get("seen_ms") or 0
    return age(time.time() - seen_ms / 1000) if seen_ms else "-"


def _configuration(row: Row) -> str:
    """Say whether a node goes by the newest configuration, and what there waits."""
    config = row.get("config") or {}
    state = str(config.get("state") or "")
    why = f": {config.get('why')}" if config.get("why") else ""
    waiting = ", ".join(config.get("waiting") or [])
    restart = f"; a restart is needed for {waiting}" if waiting else ""
    return f"{state}{why}{restart}" if state not in ("", "confirmed") or restart else ""


def _page(row: Row) -> None:
    from rich.text import Text

    line = Text(f"node {row['name']} ", "bold")
    screen.trimmed(line.append_text(screen.state(state_of(row))))
    if state_of(row) in MEANINGS:
        screen.line(MEANINGS[state_of(row)])
    labels = " ".join(f"{key}={value}" for key, value in (row.get("labels") or {}).items())
    screen.facts(
        [
            ("host", str(row.get("hostname") or "")),
            ("version", str(row.get("version") or "")),
            ("protocol", str(row.get("protocol") or "")),
            ("configuration", _configuration(row)),
            ("heard", f"{heard(row)} ago".replace("now ago", "now")),
            ("cpus", _cpus(row)),
            ("memory", _memory(row)),
            ("resources", _resources(row)),
            ("labels", labels),
            *(
                ("python", f"{name}: {found}")
                for name, found in sorted((row.get("pythons") or {}).items())
            ),
            ("secrets", ", ".join(sorted(row.get("secrets") or []))),
            ("tasks", _tasks(row) + (", alone there" if row.get("exclusive") else "")),
            *_drain(row.get("drain") or {}),
            *(
                ("reserved", gpu_drawing.kept_text(each, time.time() * 1000))
                for each in row.get("reserved") or []
                if not each.get("indexes")
            ),
            *(("note", str(note)) for note in row.get("notes") or []),
        ]
    )
    if row.get("gpus"):
        screen.line()
        gpu_drawing.table(row["gpus"], with_node=False)
    if row.get("handlers"):
        screen.line()
        screen.table(HANDLER_COLUMNS, [_handler(each) for each in row["handlers"]])


def _resources(row: Row) -> str:
    """Write what is counted by name: `licence 1 of 2 used`."""
    found = row.get("resources") or []
    return ", ".join(f"{each['name']} {each['used']} of {each['count']} used" for each in found)


def _tasks(row: Row) -> str:
    ahead_of_time = int(row.get("backlog", 0))
    queued = f", {ahead_of_time:,} more in its own queue" if ahead_of_time else ""
    return counted(int(row.get("running", 0)), "task") + queued


def _drain(drain: Row) -> list[tuple[str, str]]:
    since_ms, due_ms = drain.get("since_ms") or 0, drain.get("due_ms") or 0
    since = f"since {rfc3339(since_ms)} ({age(time.time() - since_ms / 1000)} ago)"
    return [
        ("drained", since.replace("now ago", "now") if drain else ""),
        ("reason", one_line(str(drain.get("reason") or ""), 500)),
        ("deadline", ahead(due_ms, time.time() * 1000) if due_ms else ""),
    ]


def _handler(each: Row) -> list[Any]:
    error = one_line(str(each.get("error") or ""))
    return [
        str(each.get("name", "")),
        screen.styled(str(each.get("state", "")), "red" if error else "green"),
        str(each.get("workers", "")),
        ", ".join(each.get("models") or []) or "-",
        error,
    ]
