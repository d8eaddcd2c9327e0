"""Where does output go: tables and text for people, one JSON document for programs."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

PIPE_COLUMNS = 100_000  # into a pipe nothing is cut or wrapped
GAP = 2
WIDE_CELLS_MIN = 10
STATE_STYLES = {
    "waiting": "yellow",
    "queued": "yellow",
    "assigned": "cyan",
    "running": "bold cyan",
    "stopping": "magenta",
    "succeeded": "green",
    "failed": "bold red",
    "cancelled": "magenta",
    "ready": "green",
    "draining": "magenta",
    "drained": "magenta",
    "suspect": "yellow",
    "unheard": "yellow",
    "lost": "bold red",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; `wide` ones take what room is left and are cut with an ellipsis."""

    title: str
    right: bool = False
    wide: bool = False


def line(text: str = "") -> None:
    """Write a line on stdout."""
    sys.stdout.write(f"{text}\n")


def remark(text: str) -> None:
    """Write a line on stderr: what people want to know and programs do not read."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def document(body: object) -> None:
    """Write a JSON document on stdout."""
    sys.stdout.write(json.dumps(body, indent=2, ensure_ascii=False, default=str) + "\n")


def is_terminal() -> bool:
    """Tell whether people read stdout."""
    return sys.stdout.isatty()


def has_colour() -> bool:
    """Tell whether stdout takes colours (https://no-color.org)."""
    return takes_colour(sys.stdout)


def takes_colour(stream: TextIO) -> bool:
    """Tell whether a stream takes colours."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def console() -> Console:
    """Return a rich console on stdout that neither wraps nor paints into a pipe."""
    from rich.console import Console

    return Console(
        file=sys.stdout,
        width=columns_shown(),
        no_color=not has_colour(),
        force_terminal=has_colour(),
        highlight=False,
        soft_wrap=False,
        emoji=False,
        markup=False,
    )


def table(columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table; a cell is a text, or a rich Text with a style."""
    from rich.table import Table

    cells = [list(row) for row in rows]
    grid = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold dim")
    for column, width in zip(columns, _widths(columns, cells), strict=True):
        grid.add_column(
            column.title,
            justify="right" if column.right else "left",
            no_wrap=True,
            overflow="ellipsis",
            width=width,
        )
    for row in cells:
        grid.add_row(*row)
    trimmed(grid)


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> list[int]:
    """Give each column what it needs; wide ones give up what is not there, the longest first."""
    from rich.cells import cell_len

    widths = [
        max([cell_len(column.title), *(cell_len(str(row[at])) for row in rows)])
        for at, column in enumerate(columns)
    ]
    excess = sum(widths) + GAP * (len(widths) - 1) - columns_shown()
    wide = [at for at, column in enumerate(columns) if column.wide]
    for at in sorted(wide, key=widths.__getitem__, reverse=True):
        spare = min(max(excess, 0), max(widths[at] - WIDE_CELLS_MIN, 0))
        widths[at] -= spare
        excess -= spare
    return widths


def columns_shown() -> int:
    """Return how many columns the reader sees: no end of them in a pipe."""
    return shutil.get_terminal_size().columns if is_terminal() else PIPE_COLUMNS


def trimmed(renderable: Any) -> None:
    """Print without the blanks that pad lines on their right."""
    screen = console()
    with screen.capture() as capture:
        screen.print(renderable)
    for text in capture.get().split("\n")[:-1]:
        line(text.rstrip())


def facts(rows: Iterable[tuple[str, Any]]) -> None:
    """Write names and values under each other, leaving out what is empty."""
    from rich.table import Table

    grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, GAP, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        if value not in ("", None):
            grid.add_row(name, value)
    trimmed(grid)


def state(word: str) -> Any:
    """Return a state in its colour."""
    from rich.text import Text

    return Text(word, STATE_STYLES.get(word, ""))


def styled(text: str, style: str) -> Any:
    """Return a text in a style."""
    from rich.text import Text

    return Text(text, style)
