"""How is a GPU drawn: whose its memory is, how warm and busy it is, and whether it is well?"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..protocol.resources import format_bytes
from . import screen
from .screen import Column
from .writing import counted, one_line, span

Row = Mapping[str, Any]
BAR_CELLS = 12
BAR_CELLS_NARROW = 8
SMALL_BAR_CELLS = 4
NARROW_COLUMNS = 110
UUID_CHARS = 12
"""As much of a UUID as `remuda gpu cordon` needs on any host."""
OURS, FOREIGN, OTHER, FREE, SICK = "█", "▒", "░", "·", "/"
STYLES = {OURS: "cyan", FOREIGN: "yellow", OTHER: "dim", FREE: "dim", SICK: "bold red"}
MAKER = "NVIDIA "
HEALTH_STYLES = {
    "healthy": "green",
    "faulty": "bold red",
    "cordoned": "magenta",
    "withheld": "yellow",
}
LEGEND = (
    (OURS, "ours"),
    (FOREIGN, "foreign"),
    (OTHER, "in use by none that is known"),
    (FREE, "free"),
    (SICK, "not lent"),
)


def table(rows: Sequence[Row], *, with_node: bool) -> None:
    """Print GPUs as a table; on a terminal what ails them and what the cells mean stands below."""
    narrow = screen.columns_shown() < NARROW_COLUMNS
    with_models = any(row.get("models") for row in rows)
    columns = _columns(with_node=with_node, narrow=narrow, with_models=with_models)
    now_ms = time.time() * 1000
    screen.table(
        columns,
        [_cells(r, with_node=with_node, narrow=narrow, with_models=with_models) for r in rows],
    )
    if screen.is_terminal():
        legend(rows)
        for text in dict.fromkeys(_ailment(r, with_node=with_node) for r in rows if is_sick(r)):
            screen.trimmed(screen.styled(text, "bold red"))
    for text in dict.fromkeys(kept_text(kept, now_ms) for r in rows for kept in _kept(r)):
        screen.trimmed(screen.styled(text, "magenta"))


def _kept(row: Row) -> Sequence[Row]:
    return row.get("reserved") or []


def kept_text(kept: Row, now_ms: float) -> str:
    """Say for which task a place is kept, and when it will be free."""
    indexes = [str(each) for each in kept.get("indexes") or []]
    gpus = f" {'GPU' if len(indexes) == 1 else 'GPUs'} {', '.join(indexes)}" if indexes else ""
    after, start_ms = int(kept.get("after") or 0), kept.get("start_ms") or 0
    when = f"once {counted(after, 'task')} there ended" if after else "now"
    if start_ms and after:
        when = f"in about {span((start_ms - now_ms) / 1000)}"
    are = "are" if len(indexes) > 1 else "is"
    return f"{kept['node']}{gpus} {are} reserved for task {kept['number']}: free {when}"


def _ailment(row: Row, *, with_node: bool) -> str:
    where = f"{row['node']} GPU" if with_node else "GPU"
    return f"! {where} {row.get('index')} is {said(row)}"


def _columns(*, with_node: bool, narrow: bool, with_models: bool) -> list[Column]:
    measured = [Column(each, right=True) for each in ("OURS", "FOREIGN", "FREE") if not narrow]
    return [
        *([Column("NODE")] if with_node else []),
        Column("GPU", right=True),
        Column("NAME", wide=True),
        Column("MEMORY"),
        *measured,
        Column("TEMP", right=True),
        Column("BUSY", right=True),
        Column("TASKS", right=True),
        *([Column("MODELS", wide=True)] if with_models else []),
        Column("HEALTH", wide=True),
        *([] if narrow else [Column("UUID")]),
    ]


def _cells(row: Row, *, with_node: bool, narrow: bool, with_models: bool) -> list[Any]:
    ours, foreign, free, whole = shares(row)
    memory = bar(row, BAR_CELLS_NARROW if narrow else BAR_CELLS)
    memory.append(f" {format_bytes(whole)}")
    number = int(row.get("foreign") or 0)
    others = format_bytes(foreign) + (f" ({number})" if number else "")
    measured = [format_bytes(ours), others if foreign or number else "-", format_bytes(free)]
    return [
        *([str(row.get("node", ""))] if with_node else []),
        str(row.get("index", "")),
        str(row.get("name", "")).removeprefix(MAKER if screen.is_terminal() else ""),
        memory,
        *([] if narrow else measured),
        temperature(row),
        busy(row),
        str(row.get("running", 0)),
        *([models(row) or "-"] if with_models else []),
        health(row, in_full=not screen.is_terminal()),
        *([] if narrow else [str(row.get("uuid", ""))[:UUID_CHARS]]),
    ]


def shares(row: Row) -> tuple[int, int, int, int]:
    """Return bytes of a card's memory: ours, of foreign processes, free, all of it.

    Where nothing was measured, what is lent stands for ours, and what else is used for foreign.
    """
    whole = int(row.get("memory_bytes") or 0)
    lent = int(row.get("used_bytes") or 0)
    free = min(int(row.get("free_bytes") or 0), whole)
    ours, foreign = row.get("ours_bytes"), row.get("foreign_bytes")
    if ours is None:
        ours = min(lent, whole)
        free = min(free, whole - ours)
    return int(ours), int(foreign or 0), free, whole


def bar(row: Row, cells: int) -> Any:
    """Draw a card's memory: each cell is ours, foreign, free; one that gets no work is crossed."""
    from rich.text import Text

    ours, foreign, free, whole = shares(row)
    text = Text()
    rest = SICK if is_sick(row) else FREE
    # What a driver keeps for itself is not worth a cell of its own.
    other = whole - ours - foreign - free if rest is FREE else 0
    parts = ((OURS, ours), (FOREIGN, foreign), (OTHER, other if other * cells >= whole else 0))
    for char, count in _dealt(parts, whole, cells):
        text.append(char * count, STYLES[char])
    return text.append(rest * (cells - len(text)), STYLES[rest])


def _dealt(parts: Iterable[tuple[str, int]], whole: int, cells: int) -> Iterable[tuple[str, int]]:
    """Deal cells out by size; what is there at all gets one at least, while there are some."""
    left = cells
    for char, part in parts:
        wanted = round(part / whole * cells) if whole else 0
        count = min(left, max(wanted, int(part > 0)))
        left -= count
        yield char, count


def is_sick(row: Row) -> bool:
    """Tell whether a card gets no new work."""
    return str(row.get("health", "healthy")) != "healthy"


def temperature(row: Row) -> str:
    found = row.get("temperature_c")
    return "-" if found is None else f"{found}°C"


def busy(row: Row) -> str:
    found = row.get("utilisation_percent")
    return "-" if found is None else f"{found}%"


def models(row: Row) -> str:
    """Name the models in a card's memory."""
    return ", ".join(
        str(each.get("model") or each.get("handler") or "?") for each in row.get("models") or []
    )


def health(row: Row, *, in_full: bool) -> Any:
    """Say in colour how a card is, with `in_full` why as well."""
    word = str(row.get("health", "healthy"))
    return screen.styled(said(row) if in_full else word, HEALTH_STYLES.get(word, ""))


def said(row: Row) -> str:
    """Say how a card is, and why it gets no work."""
    word, why = str(row.get("health", "healthy")), one_line(str(row.get("why") or ""))
    return f"{word}: {why}" if why else word


def legend(rows: Iterable[Row]) -> None:
    """Say what the cells of the bars mean, of those that occur."""
    from rich.text import Text

    chars = {char for row in rows for char in bar(row, BAR_CELLS).plain}
    line = Text()
    for char, word in LEGEND:
        if char in chars:
            line.append(f"{char} ", STYLES[char]).append(f"{word}   ", "dim")
    screen.trimmed(line)


def overview(rows: Sequence[Row]) -> None:
    """Print one small bar per card, a line or more per node: for a whole fleet on one screen."""
    from rich.text import Text

    with_gpus = [row for row in rows if row.get("gpus")]
    if not with_gpus:
        return
    longest = max(len(str(row["name"])) for row in with_gpus)
    room = max((screen.columns_shown() - longest - 2) // (SMALL_BAR_CELLS + 1), 1)
    for row in with_gpus:
        gpus = list(row["gpus"])
        line = Text(str(row["name"]).ljust(longest) + "  ")
        shown = gpus if len(gpus) <= room else gpus[: max(room - 2, 1)]
        for gpu in shown:
            line.append_text(bar(gpu, SMALL_BAR_CELLS)).append(" ")
        if len(shown) < len(gpus):
            line.append(f"+{len(gpus) - len(shown)}", "dim")
        screen.trimmed(line)
    legend(gpu for row in with_gpus for gpu in row["gpus"])


def page(row: Row) -> None:
    """Print one card in full."""
    from rich.text import Text

    ours, foreign, free, whole = shares(row)
    head = Text(f"gpu {row.get('uuid', '')} ", "bold")
    screen.trimmed(head.append_text(health(row, in_full=True)))
    picture = bar(row, 40)
    picture.append(f" {format_bytes(whole)}")
    screen.trimmed(picture)
    legend([row])
    cc = int(row.get("cc") or 0)
    number = int(row.get("foreign") or 0)
    others = f"{format_bytes(foreign)} of {counted(number, 'process', 'processes')}"
    power = row.get("power_w")
    screen.facts(
        [
            ("node", f"{row.get('node', '')}, GPU {row.get('index', '')}"),
            ("name", str(row.get("name", ""))),
            ("part of", str(row.get("parent") or "")),
            ("compute", f"{cc // 10}.{cc % 10}" if cc else ""),
            ("driver", str(row.get("driver") or "")),
            ("ours", format_bytes(ours)),
            ("foreign", others if foreign or number else ""),
            ("these are", one_line(str(row.get("strangers") or ""), 500)),
            ("free", format_bytes(free)),
            ("lent", format_bytes(int(row.get("used_bytes") or 0))),
            ("temperature", temperature(row)),
            ("busy", busy(row)),
            ("power", "" if power is None else f"{power} W"),
            ("models", models(row)),
            *(("reserved", kept_text(each, time.time() * 1000)) for each in _kept(row)),
            *(("fault", one_line(str(each), 500)) for each in row.get("faults") or []),
        ]
    )
