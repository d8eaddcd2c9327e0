"""What is shown and checked of a configuration: each value with where it was set, each mistake."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ..protocol.errors import Invalid
from . import config_changes, screen
from .commands import Session, command
from .screen import Column

NodeName = Annotated[str, typer.Option("--node", metavar="NAME", help="That of a node.")]


@command(
    "config show",
    example="remuda config show scheduler\nremuda config show --node gpu-07 node.labels",
)
def config_show(
    session: Session,
    key: Annotated[str, typer.Argument(metavar="[KEY]", help="A key, or a table.")] = "",
    node: NodeName = "",
) -> None:
    """Show the scheduler's configuration and where each value was set.

    What the store alone reads is as the store itself reports it, and with --node all as that node
    does. A value that waits is marked with what still runs.
    """
    body = _shown(session, key, node)
    entries = list(body["entries"])
    if session.json:
        screen.document([_row(each) for each in entries])
        return
    rows = [
        [str(each["key"]), text(each), screen.styled(where, "dim" if where == "defaults" else "")]
        for each in entries
        for where in [_origin(each) + _restart(each)]
    ]
    screen.table((Column("KEY"), Column("VALUE"), Column("SET IN")), rows)
    store = body.get("store") or {}
    if any(str(each["key"]).startswith("store.") for each in entries) and store.get("why"):
        screen.remark(f"the store: {store['state']}: {store['why']}")


@command("config get", example="remuda config get scheduler.lease")
def config_get(
    session: Session,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Like scheduler.lease.")],
    node: NodeName = "",
) -> None:
    """Print one value of the configuration, or all of a table."""
    if not key:  # which would ask for all of them
        raise Invalid("KEY is empty: `remuda config show` lists what there is", field="key")
    entries = list(_shown(session, key, node)["entries"])
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


__all__ = ["config_changes"]  # its commands are declared beside these


def text(entry: Mapping[str, Any]) -> str:
    """Write the value of an entry on one line, a number with its unit."""
    import json

    value = entry.get("value")
    if value is None:
        return "(unset)"
    if isinstance(value, (int, float)) and entry.get("written"):
        return str(entry["written"]).strip('"')
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _shown(session: Session, key: str, node: str) -> Mapping[str, Any]:
    from ..client import configuring

    with session.connect() as link:
        return configuring.show(link, key, node)


def _row(each: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "key": each["key"],
        "value": each.get("value"),
        "layer": each.get("layer") or None,
        "origin": each.get("origin") or None,
        "restart": each.get("restart"),
    }


def _restart(each: Mapping[str, Any]) -> str:
    if not each.get("restart"):
        return ""
    running = str(each.get("running", "")).strip('"')
    still = f", runs with {running}" if running else ""
    return f" (restart of the {each['restart']} needed{still})"


def _origin(each: Mapping[str, Any]) -> str:
    is_default = each.get("layer") == "defaults"
    return "defaults" if is_default else str(each.get("origin") or each.get("layer") or "")
