"""How is a named handler drawn, in a list and on a page of its own?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..protocol.resources import format_bytes
from . import screen
from .screen import Column
from .writing import age, rfc3339, span

Row = Mapping[str, Any]
STATES = (
    "busy", "idle", "loading", "cold", "failed", "disabled", "unavailable", "away",
)  # fmt: skip
STYLES = {
    "busy": "bold cyan",
    "idle": "green",
    "loading": "cyan",
    "failed": "bold red",
    "disabled": "magenta",
    "unavailable": "yellow",
    "away": "yellow",
}
COLUMNS = (
    Column("HANDLER"),
    Column("TARGET", wide=True),
    Column("DECLARED"),
    Column("NODES", wide=True),
    Column("MODELS", wide=True),
    Column("VRAM", right=True),
    Column("RUN", right=True),
    Column("QUEUED", right=True),
    Column("CALLS", right=True),
    Column("LAST", right=True),
)
NODE_COLUMNS = (
    Column("NODE"),
    Column("STATE"),
    Column("DECLARED"),
    Column("WORKERS", right=True),
    Column("VRAM", right=True),
    Column("RUN", right=True),
    Column("CALLS", right=True),
    Column("LAST", right=True),
    Column("WHY", wide=True),
)
MODEL_COLUMNS = (
    Column("NODE"),
    Column("MODEL"),
    Column("STATE"),
    Column("GPU", wide=True),
    Column("VRAM", right=True),
    Column("CALLS", right=True),
    Column("IDLE", right=True),
    Column("LOADED IN", right=True),
    Column("ERROR", wide=True),
)
GPU_CHARS = 12
WIDE_FROM = 120  # columns
NARROW_WITHOUT = ("TARGET", "MODELS")


def table(rows: Sequence[Row], now_s: float) -> None:
    """Write handlers, a row for each; a narrow terminal leaves to `handler show` what is long."""
    left_out = () if screen.columns_shown() >= WIDE_FROM else NARROW_WITHOUT
    kept = [index for index, column in enumerate(COLUMNS) if column.title not in left_out]
    cells = [_cells(row, now_s) for row in rows]
    screen.table([COLUMNS[i] for i in kept], [[row[i] for i in kept] for row in cells])


def _cells(row: Row, now_s: float) -> list[Any]:
    return [
        str(row["name"]),
        str(row["target"] or "-"),
        "+".join(row["declared"]) or "-",
        nodes_in_short(row["nodes"]),
        ", ".join(row["models"]) or "-",
        _vram(row),
        str(row["running"] or "-"),
        str(row["queued"] or "-"),
        f"{row['calls']:,}",
        _ago(row["called_ms"], now_s),
    ]


def nodes_in_short(nodes: Sequence[Row]) -> str:
    """Say on how many nodes a handler is how: `2 idle, 1 failed`."""
    counts = Counter(str(each["state"]) for each in nodes)
    return ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state]) or "none"


def page(row: Row, now_s: float) -> None:
    """Write all about one handler: the facts, then each node, then each model in memory."""
    screen.facts(
        [
            ("handler", str(row["name"])),
            ("target", str(row["target"] or "-")),
            ("declared by", " and ".join(row["declared"]) or "nobody now"),
            *([("for nodes", str(row["selector"]))] if row["selector"] else []),
            ("models", ", ".join(row["models"]) or "-"),
            ("calls", f"{row['calls']:,}, {row['running']} running, {row['queued']} queued"),
            *_disabled(row["disabled"], now_s),
        ]
    )
    if row["nodes"]:
        screen.line()
        screen.table(NODE_COLUMNS, [_node_cells(each, now_s) for each in row["nodes"]])
    models = [
        _model_cells(node["node"], each) for node in row["nodes"] for each in node["residents"]
    ]
    if models:
        screen.line()
        screen.table(MODEL_COLUMNS, models)


def _disabled(off: Row, now_s: float) -> list[tuple[str, str]]:
    if not off:
        return []
    since = _ago(off["since_ms"], now_s)
    return [("disabled", f"by {off['by']}, {since} ago: {off['reason']}".replace("now ago", "now"))]


def _node_cells(row: Row, now_s: float) -> list[Any]:
    declared = f"{row['declared']} (over the scheduler)" if row["overrides"] else row["declared"]
    why = row["why"] or ("shown to load" if row["verified"] else "")
    if row["reload"]:
        why = f"{why}; " * bool(why) + "a reload is to be confirmed"
    return [
        str(row["node"]),
        _state(row["state"]),
        str(declared),
        f"{row['loaded']}/{row['workers']}",
        _vram(row),
        str(row["running"] or "-"),
        f"{row['calls']:,}",
        _ago(row["called_ms"], now_s),
        str(why or "-"),
    ]


def _model_cells(node: str, row: Row) -> list[Any]:
    return [
        str(node),
        str(row["model"] or "(all)"),
        _state(row["state"]),
        str(row["gpu_uuid"])[:GPU_CHARS] or "-",
        _vram(row),
        str(row["calls"] or "-"),
        span(row["idle_ms"] / 1000) if row["idle_ms"] else "-",
        span(row["load_ms"] / 1000) if row["load_ms"] else "-",
        str(row["error"] or "-"),
    ]


def _state(state: str) -> Any:
    from rich.text import Text

    return Text(state, style=STYLES.get(state, ""))


def _vram(row: Row) -> str:
    """Write what was measured, else what is reserved."""
    if row["used_bytes"] is not None:
        return format_bytes(int(row["used_bytes"]))
    return f"({format_bytes(int(row['vram_bytes']))})" if row["vram_bytes"] else "-"


def _ago(wall_ms: int, now_s: float) -> str:
    return age(now_s - wall_ms / 1000) if wall_ms else "-"


def plain(row: Row) -> dict[str, Any]:
    """Return a handler for programs."""
    return {
        **{key: value for key, value in row.items() if key not in ("called_ms", "disabled")},
        "called_at": rfc3339(row["called_ms"]),
        "disabled": _plain_disabled(row["disabled"]),
        "nodes": [node_plain(each) for each in row["nodes"]],
    }


def node_plain(row: Row) -> dict[str, Any]:
    """Return how a handler is on a node, for programs."""
    hidden = ("called_ms", "disabled", "reload", "reloaded")
    return {
        **{key: value for key, value in row.items() if key not in hidden},
        "reload_pending": bool(row["reload"]),
        "called_at": rfc3339(row["called_ms"]),
        "disabled": _plain_disabled(row["disabled"]),
    }


def _plain_disabled(off: Row) -> dict[str, Any] | None:
    if not off:
        return None
    return {"reason": off["reason"], "by": off["by"], "since": rfc3339(off["since_ms"])}
