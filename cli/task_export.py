"""The verb that writes what tasks were and how they went into a file: `remuda task export`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from ..protocol.errors import Invalid
from . import screen
from .commands import Session, command
from .csv_rows import CsvWriter
from .gauge import Gauge
from .refs import Filters, as_listed, name_unknown
from .whole_file import STDOUT, check_target, target_of
from .writing import counted

if TYPE_CHECKING:
    from ..client.connection import Connection

FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}
Write = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class When:
    """The times that narrow an export."""

    since: Annotated[
        str, typer.Option(metavar="TIME", help="Only what was submitted since: 7d, 2026-01-31T18Z.")
    ] = ""
    until: Annotated[
        str, typer.Option(metavar="TIME", help="Only what was submitted until then.")
    ] = ""
    ended_since: Annotated[
        str, typer.Option(metavar="TIME", help="Only what ended since so long ago, or since then.")
    ] = ""
    ended_until: Annotated[
        str, typer.Option(metavar="TIME", help="Only what ended until then.")
    ] = ""


@command(
    "task export",
    example="remuda task export history.jsonl\n"
    "remuda task export yesterday.csv --ended-since 1d --state failed,succeeded\n"
    "remuda task export tries.csv --attempts --tag team=a\n"
    "remuda task export - --owner ann --since 2026-01-01T00:00:00Z | jq .attempts[].run_s",
)
def task_export(
    session: Session,
    filters: Filters,
    when: When,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Where to: a new .jsonl or .csv; -: standard out.")
    ],
    format: Annotated[  # noqa: A002 - the name of the option
        str, typer.Option(metavar="jsonl|csv", help="By default what the file's name ends in.")
    ] = "",
    attempts: Annotated[
        bool, typer.Option("--attempts", help="In CSV a row for each try instead of each task.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a file that is there already.")
    ] = False,
) -> None:
    """Write tasks, ended and open ones, with all their tries: the oldest first.

    A line of JSON for each task, with its tries in it; or CSV. The file is whole or not there.
    What tasks were called with, what they returned and what they printed is not in it.
    """
    from ..client import exporting

    shape = _format(file, format)
    if attempts and shape != "csv":
        raise Invalid("--attempts goes with CSV: a line of JSON has them anyway", field="attempts")
    if file == STDOUT and (session.json or force):
        raise Invalid(f"--{'json' if session.json else 'force'} goes with a FILE, not with -")
    times = exporting.times_of(
        since=when.since,
        until=when.until,
        ended_since=when.ended_since,
        ended_until=when.ended_until,
    )
    if file != STDOUT:
        check_target(Path(file), force=force)
    with session.connect() as link, target_of(file, force=force) as target:
        wanted = as_listed(link, filters) | times
        write = CsvWriter(target, by_attempt=attempts).write if shape == "csv" else _lines(target)
        written = _export(session, link, wanted, write)
        if not (written or session.quiet):
            name_unknown(link, node=filters.node, owner=filters.owner)
    if session.json:
        screen.document({"file": file, "format": shape, "tasks": written})
    elif not session.quiet and (file != STDOUT or not written):
        where = "standard output" if file == STDOUT else file
        screen.remark(f"{counted(written, 'task')} written to {where}")


def _export(session: Session, link: Connection, wanted: dict[str, Any], write: Write) -> int:
    from ..client import exporting

    written = 0
    with Gauge(session) as gauge:

        def show(at: int, last: int) -> None:
            gauge.show(at, f"{counted(written, 'task')}, number {at:,} of {last:,}", last)

        for task in exporting.export(link, wanted, show):
            write(task)
            written += 1
    return written


def _format(file: str, said: str) -> str:
    """Return what to write; raises Invalid where neither option nor name tell it."""
    if not file:
        raise Invalid("FILE is empty: name a file, or - for standard output", field="file")
    if said:
        if said.lower() not in FORMATS.values():
            raise Invalid(f"--format {said}: allowed are jsonl and csv", field="format")
        return said.lower()
    if file == STDOUT:
        return "jsonl"
    found = FORMATS.get(Path(file).suffix.lower())
    if found is None:
        raise Invalid(
            f"{file}: in which format? End its name in .jsonl or .csv, or say --format",
            field="format",
        )
    return found


def _lines(target: TextIO) -> Write:
    def write(task: dict[str, Any]) -> None:
        target.write(json.dumps(task, ensure_ascii=False) + "\n")

    return write
