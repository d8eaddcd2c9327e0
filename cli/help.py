"""In which order and under which headings does `remuda --help` list the commands?"""

from __future__ import annotations

from typing import Any

import typer.core

HEADINGS = {
    "A cluster on this host": ("up", "down"),
    "Work": ("run", "submit", "call"),
    "Tasks": ("task", "batch", "ps", "logs", "cancel", "why"),
    "The cluster": ("status", "node", "config", "key", "version"),
}


class Group(typer.core.TyperGroup):
    """A group that lists its commands under headings where it has some."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, in the order of the headings."""
        left = {name: self.commands[name] for name in self.commands}
        for heading, names in (HEADINGS if ctx.parent is None else {}).items():
            rows = [(name, _summary(left.pop(name))) for name in names if name in left]
            _write(formatter, heading, rows)
        rest = [(name, _summary(each)) for name, each in left.items() if not each.hidden]
        _write(formatter, "Commands", rest)


def _summary(each: Any) -> str:
    return str(each.get_short_help_str(limit=80))


def _write(formatter: Any, heading: str, rows: list[tuple[str, str]]) -> None:
    if rows:
        with formatter.section(heading):
            formatter.write_dl(rows)
