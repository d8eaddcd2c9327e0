"""Which clusters does a user know, how does one more come in, and which one is meant?"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..protocol.errors import Invalid, RemudaError
from . import screen
from .commands import Session, command
from .screen import Column

if TYPE_CHECKING:
    from ..config.cluster import ClusterRef
    from ..config.invitation import Invitation

LOCAL = "none: this knows all clusters that you logged in to, and what runs on this host."
FROM_STDIN = "-"
COLUMNS = tuple(
    Column(title) for title in ("", "CLUSTER", "ENDPOINT", "YOU", "ROLE", "SCHEDULER", "FROM")
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="As `cluster list` shows it.")]


@command(
    "login",
    example="remuda login remuda1_AJ2Gp...\nremuda login - < line.txt\nremuda --cluster lab status",
    which="Which cluster: the line says it.",
)
def login(
    session: Session,
    line: Annotated[
        str,
        typer.Argument(metavar="LINE", help="From an admin's `remuda key invite`; -: from stdin."),
    ],
    name: Annotated[
        str, typer.Option(metavar="N", help="Your name there, where the line leaves it open.")
    ] = "",
    kept_as: Annotated[
        str, typer.Option("--as", metavar="NAME", help="What to call the cluster here.")
    ] = "",
) -> None:
    """Join a cluster as a user: make a key, have it admitted, and keep it.

    The key is kept as ~/.local/share/remuda-clusters/NAME.key. The first cluster becomes the
    default; `remuda cluster use` changes that.
    """
    from ..config import enrolment, logins
    from ..config.first_keys import user_name
    from ..config.invitation import from_line

    text = sys.stdin.readline() if line == FROM_STDIN else line
    invitation = from_line(text)
    if invitation.role == "node":
        raise Invalid("this line is for a node: use it on that host, `remuda-node --join LINE`")
    if name not in ("", invitation.name) and invitation.name:
        raise Invalid(
            f"this line is for the name {invitation.name}: leave --name {name} out, or ask an "
            f"admin for a line with that name (`remuda key invite --name {name}`)",
            field="name",
        )
    known_as = kept_as or invitation.cluster
    path = logins.file_for(invitation, known_as, os.environ)
    enrolled = enrolment.enrol(invitation, name or user_name(), path)
    enrolled.keep()
    if not logins.current(os.environ):
        logins.use(known_as, os.environ)
    _say_logged_in(session, invitation, known_as, path)


def _say_logged_in(session: Session, invitation: Invitation, known_as: str, path: Path) -> None:
    from ..config import logins
    from ..config.keys import load_identity

    you = load_identity(path)
    is_default = logins.current(os.environ) == known_as
    if session.json:
        screen.document({**_row(known_as, path, "login"), "current": is_default})
        return
    screen.line(f"logged in to {known_as} ({invitation.endpoint}) as {you.name}, role {you.role}")
    if session.quiet:
        return
    if is_default:
        screen.remark("it is the default cluster (see `remuda cluster list`)")
    else:
        screen.remark(f"use it with --cluster {known_as}, or `remuda cluster use {known_as}`")


@command("cluster list", example="remuda cluster list\nremuda cluster list --json", which=LOCAL)
def cluster_list(session: Session) -> None:
    """List the clusters that you logged in to; `*` marks the one that is meant now."""
    rows = _rows(session)
    if session.json:
        screen.document(rows)
    elif session.quiet:
        for row in rows:
            screen.line(row["name"])
    elif not rows:
        screen.remark("no clusters: `remuda login LINE` joins one, `remuda up` starts one here")
    else:
        screen.table(COLUMNS, [_cells(row) for row in rows])


@command("cluster use", example="remuda cluster use lab\nremuda cluster use --none", which=LOCAL)
def cluster_use(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="A cluster.")] = "",
    none: Annotated[
        bool, typer.Option("--none", help="Mean what runs on this host again.")
    ] = False,
) -> None:
    """Say which cluster is meant where neither an option nor the environment names one."""
    from ..config import logins

    if none == bool(name):
        raise typer.BadParameter("name a cluster, or say --none")
    if none:
        logins.use_none(os.environ)
    else:
        logins.use(name, os.environ)
    if session.json:
        screen.document({"current": name or None})
    elif not session.quiet:
        screen.line(f"{name} is the default now" if name else "no cluster is the default now")
        _warn_of_environment()


@command("cluster forget", example="remuda cluster forget lab", which=LOCAL)
def cluster_forget(session: Session, name: Name) -> None:
    """Remove the key of a cluster from this machine; an admin there revokes it."""
    from ..config import logins
    from ..config.keys import load_identity

    try:
        you = load_identity(logins.identity_file(name, os.environ)).name
    except Invalid:  # what cannot be read can be forgotten
        you = "YOU"
    logins.forget(name, os.environ)
    if session.json:
        screen.document({"name": name, "state": "forgotten"})
    elif not session.quiet:
        screen.line(f"{name} is forgotten")
        screen.remark(f"its key is admitted there until an admin says `remuda key revoke {you}`")


def _rows(session: Session) -> list[dict[str, Any]]:
    from ..config import logins

    files = {name: logins.identity_file(name, os.environ) for name in logins.names(os.environ)}
    rows = [_row(name, path, "login") for name, path in files.items()]
    meant = _meant(session)
    if meant is not None and meant.identity_file not in files.values():
        rows.append(_row("", meant.identity_file, str(meant.home.root if meant.home else "etc")))
    for row in rows:
        row["current"] = meant is not None and str(meant.identity_file) == row["file"]
    return rows


def _meant(session: Session) -> ClusterRef | None:
    """Find the cluster that a command would use now, if there is one."""
    from ..config.cluster import find_cluster

    try:
        ref = find_cluster(home=session.home, cluster=session.cluster)
    except RemudaError:
        return None
    return ref if ref.identity_file.exists() else None


def _row(name: str, path: Path, source: str) -> dict[str, Any]:
    from ..config.keys import fingerprint, load_identity

    row: dict[str, Any] = {"name": name, "file": str(path), "source": source, "problem": None}
    try:
        known = load_identity(path)
    except RemudaError as error:
        return {**row, "problem": str(error)}
    return {
        **row,
        "name": name or known.cluster,
        "endpoint": known.endpoint,
        "you": known.name,
        "role": known.role,
        "scheduler": fingerprint(known.scheduler_public),
    }


def _cells(row: dict[str, Any]) -> list[Any]:
    mark = "*" if row["current"] else ""
    if row["problem"]:
        return [mark, row["name"], screen.styled(row["problem"], "red"), "", "", "", row["source"]]
    columns = ("name", "endpoint", "you", "role", "scheduler", "source")
    return [mark, *(str(row[key]) for key in columns)]


def _warn_of_environment() -> None:
    """Say so where the environment is stronger than what was just chosen."""
    for variable in ("REMUDA_HOME", "REMUDA_CLUSTER"):
        if os.environ.get(variable):
            screen.remark(f"{variable} is set in this shell and is stronger: unset it")
