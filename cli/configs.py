"""What is shown of the scheduler's configuration: each value with where it was set."""

from __future__ import annotations

from collections.abc import Mapping
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
