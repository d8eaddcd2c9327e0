"""The verb that brings files of tasks home."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..protocol import ids
from ..protocol.errors import Conflict, Invalid, NotFound, RemudaError
from ..protocol.resources import format_bytes
from . import screen
from .commands import Session, command
from .moving import moving
from .refs import select
from .writing import counted, row_id

if TYPE_CHECKING:
    from ..client.bringing_many import Member
    from ..client.client import Client
    from ..client.connection import Connection
    from ..client.each_node import NodeBatch
    from ..client.task import Task
    from ..worker.files import File
    from .refs import Selection

Ref = Annotated[
    str, typer.Argument(metavar="TASK", help="An id, a number, a batch, a range or `last`.")
]

NAMED_MAX = 20
_PATTERN = frozenset("*?[")


@command(
    "task get",
    example="remuda task get last\n"
    "remuda task get 12 result.png --to out\n"
    "remuda task get last '*.csv' --force\n"
    "remuda task get BATCH.0-9 --to out   (out/0, out/1, ...)",
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
    """Bring the files of tasks home: what they returned, and what --output named.

    A file that is there already and is the same is left alone; one that differs stops all, unless
    --force is given. Of several tasks each has a folder of its own: a member of a batch that of its
    index, another task that of its number; the exit code is 1 if one of them did not succeed. With
    --json it lists what they have, and brings nothing.
    """
    from ..client.bringing import check_folder
    from ..client.received import Far

    check_folder(to)
    with session.connect() as link:
        found = select(link, [task])
        if found.count != 1:
            members = _members(link, found)
            if session.json:
                screen.document([_listed(link, member) for member in members])
                return 0
            return bring_several(session, link, members, names or [], to, force=force)
        (key,) = found.every_task
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
    outputs = far.outputs()
    if not outputs:
        raise _none_of(link, key)
    found = bringing.chosen(outputs, names)
    with moving(session, link.depot, _goes_on(ids.format_id(ids.from_bytes(key)))):
        done = bringing.bring(far, found, to, force=force)
    if not session.quiet:
        total = format_bytes(sum(file.size for file in found))
        same = f"; {len(done.same):,} here already" if done.same else ""
        screen.remark(f"{counted(len(found), 'file')}, {total}, in {to.absolute()}{same}")
    return done.brought


def bring_several(
    session: Session,
    link: Connection,
    members: list[Member],
    names: list[str],
    to: Path,
    *,
    force: bool,
    is_listed: bool = True,
) -> int:
    """Bring the files of each task into its folder; return 1 if one has none for not succeeding."""
    from ..client import control
    from ..client.bringing_many import bring_each, why_none

    files = same = size = without = 0
    with moving(session, link.depot, "interrupted: `remuda task get` goes on where it was"):
        for home in bring_each(link, members, names, to, force=force):
            for path in home.done.brought if is_listed else ():
                screen.line(str(path))
            files += len(home.files)
            same += len(home.done.same)
            size += sum(file.size for file in home.files)
            if not home.files:
                (standing,) = control.states(link, [home.member.task])
                if standing.state == "succeeded":
                    continue
                without += 1
                if without <= NAMED_MAX:
                    screen.remark(f"{home.member.folder}: {why_none(standing.state)}")
    if without > NAMED_MAX:
        screen.remark(f"and {counted(without - NAMED_MAX, 'task')} more without files")
    if not session.quiet:
        here = f"; {same:,} here already" if same else ""
        total = f"{counted(files, 'file')} of {counted(len(members), 'task')}, {format_bytes(size)}"
        screen.remark(f"{total}, in {to.absolute()}{here}")
    return 1 if without else 0


def bring_nodes_at_end(
    session: Session, client: Client, batch: NodeBatch, to: Path, code: int, *, force: bool
) -> int:
    """Bring home what a command left on each node where it succeeded; return the exit code."""
    from ..client.bringing_many import Member
    from ..client.outcome import EXIT_OURS

    pairs = zip(batch.folders, batch, strict=True)
    left = [Member(name, task.key) for name, task in pairs if task.state == "succeeded"]
    try:
        if left:
            bring_several(session, client.link, left, [], to, force=force, is_listed=False)
    except (RemudaError, OSError) as error:
        screen.remark(f"remuda: {error}")
        screen.remark(f"its files are kept: remuda task get {batch.id} --to DIR")
        return EXIT_OURS
    return code


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


def checked_folder(patterns: list[str] | None, to: Path | None, *, force: bool) -> Path:
    """Return where the output of a command goes; raises, before anything runs, if it cannot."""
    from ..client.bringing import check_folder

    if to is not None and not patterns:
        raise Invalid("--to: nothing comes home without --output: name what should", field="to")
    folder = to or Path()
    check_folder(folder)
    check_free(patterns or [], folder, force=force)
    return folder


def check_free(patterns: list[str], to: Path, *, force: bool) -> None:
    """Raise Conflict, before anything runs, for a file that would have to be written over."""
    for name in [] if force else patterns:
        if not _PATTERN & set(name) and (to / name).is_file():
            raise Conflict(
                f"--output {name}: {to / name} is here already: move it, name another folder "
                "(--to DIR), or overwrite it with --force",
                field="output",
            )


def _members(link: Connection, found: Selection) -> list[Member]:
    """Name the folder of each task."""
    from ..client import control
    from ..client.bringing_many import Member

    members: dict[str, Member] = {}

    def add(name: str, otherwise: str, key: bytes) -> None:
        folder = otherwise if name in members else name
        members[folder] = Member(folder, key)

    for key in found.tasks:
        row = control.show_task(link, key)
        is_member, shown = bool(row.get("batch")), row_id(row)
        add(shown.rpartition(".")[2] if is_member else str(row["number"]), shown, key)
    for batch, count in found.batches:
        number = ids.from_bytes(batch)
        for index in range(count):
            member = ids.member(number, index)
            add(str(index), ids.format_id(member, number), ids.to_bytes(member))
    return list(members.values())


def _listed(link: Connection, member: Member) -> dict[str, Any]:
    from ..client.received import Far

    files = Far(link, member.task).outputs().items()
    return {
        "task": ids.format_id(ids.from_bytes(member.task)),
        "folder": member.folder,
        "files": [_row(name, file) for name, file in files],
    }


def _none_of(link: Connection, key: bytes) -> NotFound | Conflict:
    """Return what to raise for a task without files."""
    from ..client import control
    from ..client.bringing_many import why_none

    (standing,) = control.states(link, [key])
    kind = NotFound if standing.state == "succeeded" else Conflict
    return kind(why_none(standing.state))


def _goes_on(shown: str) -> str:
    return f"interrupted: `remuda task get {shown}` goes on where it was"


def _row(name: str, file: File) -> dict[str, Any]:
    kind = file.row.kind if file.row is not None else None
    return {"name": name, "size": file.size, "sha256": file.sha256, "kind": kind}
