"""The verb that brings files of a task home."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..protocol.errors import Conflict, NotFound, RemudaError
from ..protocol.resources import format_bytes
from . import screen
from .commands import Session, command
from .moving import moving
from .refs import select_one
from .writing import counted

if TYPE_CHECKING:
    from ..client.connection import Connection
    from ..client.task import Task
    from ..worker.files import File

Ref = Annotated[str, typer.Argument(metavar="TASK", help="An id, a number or `last`.")]

_PATTERN = frozenset("*?[")


@command(
    "task get",
    example="remuda task get last\n"
    "remuda task get 12 result.png --to out\n"
    "remuda task get last '*.csv' --force",
)
def task_get(
    session: Session,
    task: Ref,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Only these; patterns like '*.png' do too."),
    ] = None,
    to: Annotated[
        Path, typer.Option(metavar="DIR", help="Where to (default: here).", show_default=False)
    ] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that differ.")] = False,
) -> int:
    """Bring the files of a task home: what it returned, and what --output named.

    A file that is there already and is the same is left alone; one that differs stops all, unless
    --force is given. With --json it lists what the task has, and brings nothing.
    """
    from ..client.received import Far

    with session.connect() as link:
        key = select_one(link, task)
        if session.json:
            rows = [_row(name, file) for name, file in Far(link, key).outputs().items()]
            screen.document(rows)
            return 0
        for path in bring(session, link, key, names or [], to, force=force):
            screen.line(str(path))
    return 0


def bring(
    session: Session, link: Connection, key: bytes, names: list[str], to: Path, *, force: bool
) -> list[Path]:
    """Bring files home and say how many; return where they are now.

    Raises Conflict before anything is written over.
    """
    from ..client import bringing
    from ..client.received import Far

    far = Far(link, key)
    found = bringing.chosen(far.outputs(), names)
    if not found:
        raise NotFound("this task has no files: it returned none, and no --output was asked for")
    with moving(session, link.depot):
        done = bringing.bring(far, found, to, force=force)
    if not session.quiet:
        total = format_bytes(sum(file.size for file in found))
        same = f"; {len(done.same):,} here already" if done.same else ""
        screen.remark(f"{counted(len(found), 'file')}, {total}, in {to.absolute()}{same}")
    return done.brought


def bring_at_end(session: Session, link: Connection, task: Task, to: Path, *, force: bool) -> int:
    """Bring home what a command left; return the exit code of `run`."""
    from ..client.outcome import EXIT_OURS

    try:
        bring(session, link, task.key, [], to, force=force)
    except (RemudaError, OSError) as error:
        screen.remark(f"remuda: {error}")
        screen.remark(f"it succeeded, and its files are kept: remuda task get {task.id} --to DIR")
        return EXIT_OURS
    return 0


def check_free(patterns: list[str], to: Path, *, force: bool) -> None:
    """Raise Conflict, before anything runs, for a file that would have to be written over."""
    for name in [] if force else patterns:
        if not _PATTERN & set(name) and (to / name).is_file():
            raise Conflict(
                f"--output {name}: {to / name} is here already: move it, name another folder "
                "(--to DIR), or overwrite it with --force",
                field="output",
            )


def _row(name: str, file: File) -> dict[str, Any]:
    kind = file.row.kind if file.row is not None else None
    return {"name": name, "size": file.size, "sha256": file.sha256, "kind": kind}
