"""What is shown and checked of a configuration: each value with where it was set, each mistake."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from . import screen
from .commands import Session, command
from .screen import Column


@command("config show", example="remuda config show scheduler")
def config_show(
    session: Session,
    key: Annotated[str, typer.Argument(metavar="[KEY]", help="A key, or a table.")] = "",
) -> None:
    """Show the scheduler's configuration and where it was set."""
    entries = _entries(session, key)
    if session.json:
        screen.document([_row(each) for each in entries])
        return
    rows = [[str(each["key"]), text(each), _origin(each)] for each in entries]
    screen.table((Column("KEY"), Column("VALUE"), Column("SET IN")), rows)


@command("config get", example="remuda config get scheduler.lease")
def config_get(
    session: Session,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Like scheduler.lease.")],
) -> None:
    """Print one value of the configuration, or all of a table."""
    entries = _entries(session, key)
    values = {str(each["key"]): each.get("value") for each in entries}
    if session.json:
        screen.document(values if len(values) != 1 else next(iter(values.values())))
    elif len(entries) == 1:
        screen.line(text(entries[0]))
    else:
        for each in entries:
            screen.line(f"{each['key']} = {text(each)}")


@command(
    "config validate",
    example="remuda config validate\nremuda config validate /etc/remuda/50-limits.toml new.toml",
    which="Whose configuration: --home DIR, else REMUDA_HOME, else ~/.local/share/remuda.",
)
def config_validate(
    session: Session,
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE...]", help="Read in place of the files of the home."),
    ] = None,
    profile: Annotated[
        str, typer.Option(metavar="NAME", help="As if a daemon was given it (REMUDA_PROFILE).")
    ] = "",
) -> int:
    """Check a configuration without a scheduler: files, environment, what must fit together.

    Names file, line and key of each mistake, what was found and what is allowed. Exit code 1: it
    is not valid, and no daemon would take it.
    """
    from .config_checks import problems_of

    problems, checked = problems_of(session.home, files, profile)
    if session.json:
        screen.document({"valid": not problems, "problems": problems, "files": checked})
        return int(bool(problems))
    for problem in problems:
        screen.line(problem)
    if not problems and not session.quiet:
        read = ", ".join(checked) or "no files"
        screen.line(f"valid: {read}")
    return int(bool(problems))


def text(entry: Mapping[str, Any]) -> str:
    """Write the value of an entry on one line, a number with its unit."""
    import json

    value = entry.get("value")
    if value is None:
        return "(unset)"
    if isinstance(value, (int, float)) and entry.get("written"):
        return str(entry["written"]).strip('"')
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _entries(session: Session, key: str) -> list[Mapping[str, Any]]:
    from ..client import control

    with session.connect() as link:
        return list(control.show_config(link, key)["entries"])


def _row(each: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "key": each["key"],
        "value": each.get("value"),
        "layer": each.get("layer") or None,
        "origin": each.get("origin") or None,
    }


def _origin(each: Mapping[str, Any]) -> Any:
    is_default = each.get("layer") == "defaults"
    where = "defaults" if is_default else str(each.get("origin") or each.get("layer") or "")
    return screen.styled(where, "dim" if where == "defaults" else "")
