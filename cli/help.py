"""How does `--help` look: commands in an order of their own under headings, arguments as typed?"""

from __future__ import annotations

from typing import Any

import typer.core

HEADINGS = {
    "A cluster on this host": ("up", "down"),
    "Work": ("run", "submit", "call"),
    "Tasks": ("task", "batch", "ps", "logs", "cancel", "why"),
    "The cluster": (
        "status",
        "node",
        "gpu",
        "handler",
        "events",
        "stats",
        "store",
        "config",
        "key",
        "version",
    ),
    "Keeping it well": (
        "doctor",
        "install",
        "audit",
        "backup",
        "restore",
        "recovery",
        "migrate",
        "completion",
    ),
    "Which cluster": ("login", "cluster"),
}
SENTENCE_CHARS_MAX = 200  # a first sentence is shown whole, over as many lines as it takes
VERBS = (
    *("list", "show", "get", "logs", "wait", "cancel", "retry", "explain"),
    *("stack", "signal", "exec", "prune", "export"),
    *("drain", "undrain", "lost", "forget", "cordon", "uncordon"),
    *("reload", "disable", "enable"),
)


class Group(typer.core.TyperGroup):
    """A group that lists its commands in order: by headings at the root, else by verbs."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands."""
        left = {name: each for name, each in self.commands.items() if not each.hidden}
        headings = HEADINGS if ctx.parent is None else {"Commands": VERBS}
        for heading, names in headings.items():
            known = [name for name in names if name in left]
            rest = list(left) if heading == "Commands" else []
            ordered = dict.fromkeys([*known, *rest])
            _write(formatter, heading, [(name, _summary(left.pop(name))) for name in ordered])


class Command(typer.core.TyperCommand):
    """A command whose arguments are shown as they are typed."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return what stands behind the command in its usage line."""
        return ["[OPTIONS]", *(_typed(each) for each in _arguments(self, ctx))]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options."""
        arguments = _arguments(self, ctx)
        _write(formatter, "Arguments", [(_typed(each), each.help or "") for each in arguments])
        others = [each for each in self.get_params(ctx) if each not in arguments]
        records = [each.get_help_record(ctx) for each in others]
        _write(formatter, "Options", [record for record in records if record is not None])


def _arguments(command: Any, context: Any) -> list[Any]:
    params = command.get_params(context)
    return [each for each in params if each.param_type_name == "argument"]


def _typed(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _summary(each: Any) -> str:
    return str(each.get_short_help_str(limit=SENTENCE_CHARS_MAX))


def _write(formatter: Any, heading: str, rows: list[tuple[str, str]]) -> None:
    if rows:
        with formatter.section(heading):
            formatter.write_dl(rows)
