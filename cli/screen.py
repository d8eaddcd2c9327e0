"""Where does output go: tables and text for people, one JSON document for programs."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

PIPE_COLUMNS = 100_000  # into a pipe nothing is cut or wrapped
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
    "suspect": "yellow",
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
    return is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def console() -> Console:
    """Return a rich console on stdout that neither wraps nor paints into a pipe."""
    from rich.console import Console

    width = shutil.get_terminal_size().columns if is_terminal() else PIPE_COLUMNS
    return Console(
        file=sys.stdout,
        width=width,
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

    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold dim")
    for column in columns:
        grid.add_column(
            column.title,
            justify="right" if column.right else "left",
            no_wrap=True,
            overflow="ellipsis" if column.wide else "fold",
            ratio=None,
            min_width=8 if column.wide else len(column.title),
        )
    for row in rows:
        grid.add_row(*row)
    trimmed(grid)


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

    grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
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
