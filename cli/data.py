"""What is done with the files of a scheduler on its host: backup, restore, migrate."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..protocol.errors import Invalid
from .commands import Session, command

MODULE = "remuda.scheduler.offline"
HERE = "On the scheduler's host, as its user: --home DIR, else REMUDA_HOME, else the usual one."
Force = Annotated[bool, typer.Option("--force", help="Move aside what is there already.")]


@command(
    "backup",
    example="remuda backup monday.tar --with-keys\n"
    "remuda backup --to /backup/remuda --keep 24        # for a timer",
    which=HERE,
)
def backup(
    session: Session,
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="Where to.")] = None,
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A folder; the file is named by the time.")
    ] = None,
    keep: Annotated[
        int, typer.Option(metavar="N", min=0, help="With --to: remove all but the newest N.")
    ] = 0,
    with_keys: Annotated[
        bool, typer.Option("--with-keys", help="Secret keys too: guard the file like them.")
    ] = False,
    with_objects: Annotated[
        bool, typer.Option("--with-objects", help="Files and large values of the store too.")
    ] = False,
) -> int:
    """Back the journal, the settings and the store's index up, while the scheduler works or not.

    The file is whole and on disk before it has its name; only its owner can read it (0600): it
    holds what tasks were called with, and the secret behind their tokens.
    """
    if (file is None) == (to is None):
        raise Invalid("say where to: a FILE, or a folder with --to", field="file")
    if keep and to is None:
        raise Invalid("--keep goes with --to: it removes older backups there", field="keep")
    if to is not None and to.exists() and not to.is_dir():
        raise Invalid(f"--to {to}: is a file: name a folder", field="to")
    if file is not None and (trouble := _no_place(file)):
        raise Invalid(f"{file}: {trouble}", field="file")
    words = [str(file)] if file else []
    words += ["--into", str(to)] if to else []
    words += ["--keep", str(keep)] if keep else []
    words += ["--with-keys"] if with_keys else []
    words += ["--with-objects"] if with_objects else []
    return _run(session, "backup", words)


def _no_place(file: Path) -> str:
    """Say why no new file of that name can be made; empty when one can."""
    if file.is_dir():
        return "is a folder: name a file in it, or write --to"
    if not file.parent.is_dir():
        return f"there is no folder {file.parent}: make it first"
    return ""


@command(
    "restore",
    example="remuda restore monday.tar --show\nremuda restore monday.tar --home /var/lib/remuda",
    which=HERE,
)
def restore(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `remuda backup` wrote.")],
    force: Force = False,
    goes_on: Annotated[
        bool,
        typer.Option(
            "--continue", help="Nothing happened since: it was made of a stopped scheduler."
        ),
    ] = False,
    show: Annotated[bool, typer.Option("--show", help="Only say what is in it.")] = False,
) -> int:
    """Put a backup into the home of a stopped scheduler, on this host or another one.

    Everything is checked first. The scheduler that starts on it holds: it starts nothing and stops
    nothing until you decided what becomes of tasks that went on since (`remuda recovery`).
    """
    if show and (force or goes_on):
        raise Invalid(
            "--show only says what is in it: leave --force and --continue out", field="show"
        )
    if file.is_dir():
        raise Invalid(f"{file} is a folder: name a file that `remuda backup` wrote", field="file")
    words = [str(file)]
    words += ["--force"] if force else []
    words += ["--continue"] if goes_on else []
    words += ["--show"] if show else []
    return _run(session, "restore", words)


@command("migrate", example="remuda migrate --check\nremuda migrate", which=HERE)
def migrate(
    session: Session,
    check: Annotated[
        bool, typer.Option("--check", help="Only say what is to be done: 0 nothing, 1 something.")
    ] = False,
    to: Annotated[
        int | None, typer.Option(metavar="N", help="The schema to come to (default: the newest).")
    ] = None,
) -> int:
    """Bring the journal of a stopped scheduler to the schema of this remuda, after a backup of it.

    The scheduler does the same at its start. Schemas only add: the remuda before opens the journal
    as well, so --to an older schema has nothing to do, or says why it cannot be.
    """
    words = ["--check"] if check else []
    words += ["--to", str(to)] if to is not None else []
    return _run(session, "migrate", words)


def _run(session: Session, verb: str, words: list[str]) -> int:
    """Leave it to the scheduler's own code, in a process of its own."""
    words += ["--home", str(session.home)] if session.home else []
    words += ["--json"] if session.json else []
    words += ["--quiet"] if session.quiet else []
    sys.stdout.flush()
    return subprocess.run(
        [sys.executable, "-P", "-m", MODULE, verb, *words], check=False
    ).returncode
