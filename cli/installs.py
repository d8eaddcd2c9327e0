"""How does `remuda install` put a scheduler or a node on this host, and take it away again?"""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..config.invitation import PREFIX
from ..protocol.errors import Invalid
from . import screen
from .commands import Session, command

_ADDRESS = re.compile(r"\*|[A-Za-z0-9][A-Za-z0-9.-]*|[0-9A-Fa-f:]+")
HOST_PANEL = "It is about this host alone: no cluster is asked."


class Role(StrEnum):
    """What a host can be."""

    SCHEDULER = "scheduler"
    NODE = "node"


@command(
    "install",
    example=(
        "sudo remuda install scheduler --listen 10.0.0.1\n"
        "sudo remuda install node --join LINE      # LINE: `remuda key invite --role node`\n"
        "sudo remuda install node --run-as ann=alice --run-as bob=bob   # docs/run-as.md\n"
        "remuda install node --dry-run             # what would be done\n"
        "sudo remuda install node --uninstall      # the data stay, unless --purge"
    ),
    which=HOST_PANEL,
)
def install(
    session: Session,
    role: Annotated[Role, typer.Argument(help="What this host shall be.")],
    join: Annotated[str, typer.Option(metavar="LINE", help="The line to join with (node).")] = "",
    listen: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where others reach it (scheduler).")
    ] = "",
    run_as: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OWNER=USER", help="Run what is of OWNER as USER of this host (node)."
        ),
    ] = None,
    prefix: Annotated[
        Path, typer.Option(metavar="DIR", help="The virtual environment that has remuda.")
    ] = Path("/opt/remuda"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    no_start: Annotated[
        bool, typer.Option("--no-start", help="Start it at the next boot only.")
    ] = False,
    uninstall: Annotated[
        bool, typer.Option("--uninstall", help="Stop and remove the services.")
    ] = False,
    purge: Annotated[
        bool, typer.Option("--purge", help="Remove data, keys and the user as well.")
    ] = False,
    root: Annotated[
        Path, typer.Option(metavar="DIR", help="A folder that stands for the host.", hidden=True)
    ] = Path("/"),
) -> None:
    """Put units, user and folders of a scheduler or a node on this host; twice does nothing more.

    A scheduler brings its store along. Settings in the home and keys are left as they are.
    """
    from ..systemd import installation
    from ..systemd.host import Host

    users = _users(run_as or [], role, uninstall=uninstall)
    _check(role, join=join, listen=listen, uninstall=uninstall, purge=purge)
    host = Host(root, dry_run)
    wish = installation.Wish(role.value, prefix, join.strip(), listen, not no_start, users)
    if uninstall:
        done = installation.uninstall(host, wish, purge=purge)
    else:
        done = installation.install(host, wish)
    _report(session, role.value, done, dry_run=dry_run, uninstall=uninstall)


def _users(rows: list[str], role: Role, *, uninstall: bool) -> dict[str, str]:
    """Read who runs as whom; raises Invalid."""
    if rows and (role is not Role.NODE or uninstall):
        raise Invalid("--run-as is for a node that is installed")
    users: dict[str, str] = {}
    for row in rows:
        owner, found, user = row.partition("=")
        if not (found and owner and user) or owner in users:
            raise Invalid(f"--run-as {row}: wanted OWNER=USER, each owner once")
        users[owner] = user
    return users


def _check(role: Role, *, join: str, listen: str, uninstall: bool, purge: bool) -> None:
    if purge and not uninstall:
        raise Invalid("--purge goes with --uninstall: it removes data and keys")
    if join and role is not Role.NODE:
        raise Invalid("--join is for a node: a scheduler makes its own keys")
    if listen and role is not Role.SCHEDULER:
        raise Invalid("--listen is for a scheduler: a node only dials out")
    if uninstall and (join or listen):
        raise Invalid("--uninstall goes with neither --join nor --listen")
    if join and not (join.strip().isprintable() and join.strip().strip("\"'").startswith(PREFIX)):
        raise Invalid(
            f"--join: a line of `remuda key invite` begins with {PREFIX} and has no blank lines: "
            "copy it again",
            field="join",
        )
    if listen and not _ADDRESS.fullmatch(listen):
        raise Invalid(
            f"--listen {listen}: name an address of this host, like 10.0.0.1, or 0.0.0.0 for all",
            field="listen",
        )


def _report(
    session: Session, role: str, done: list[str], *, dry_run: bool, uninstall: bool
) -> None:
    if session.json:
        screen.document({"role": role, "dry_run": dry_run, "changed": done})
        return
    if session.quiet:
        return
    for each in done:
        screen.line(f"would: {each}" if dry_run else each)
    if not done:
        state = "is not here" if uninstall else "is installed"
        screen.line(f"nothing to do: the {role} {state}")
