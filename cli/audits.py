"""Who did what on the cluster, and is that record whole: `remuda audit`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..protocol.errors import Invalid
from . import screen
from .commands import Session, command
from .gauge import Gauge
from .whole_file import STDOUT, check_target, target_of
from .writing import counted, one_line, rfc3339

if TYPE_CHECKING:
    from ..client.auditing import Slice, Verdict
    from ..client.connection import Connection

SUBJECT_CHARS = 200
VERB_CELLS, BY_CELLS = 16, 16
BROKEN = 1
FOUND_LINES_BYTES_MAX = 1 << 20
"""A line of an export that is longer is none of ours."""


@dataclass(slots=True)
class Which:
    """Which rows are meant."""

    by: Annotated[str, typer.Option(metavar="NAME", help="Only what this key asked for.")] = ""
    verb: Annotated[
        str, typer.Option(metavar="VERB", help="Only verbs that begin so: 'key ', refused.")
    ] = ""
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Only since so long ago, or since then: 1d.")
    ] = ""
    until: Annotated[str, typer.Option(metavar="TIME", help="Only until then: 1h.")] = ""
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=100_000, help="How many of the newest to show.")
    ] = 100
    cursor: Annotated[
        int, typer.Option(metavar="ROW", min=0, help="Only rows before this one.")
    ] = 0


@command(
    "audit",
    example="remuda audit --since 1d --verb 'node '\nremuda audit --by ann --json\n"
    "remuda audit --export audit.jsonl\nremuda audit --verify --expect 812:9f2c...\n"
    "remuda audit --verify --file audit.jsonl",
)
def audit(
    session: Session,
    which: Which,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Show what is done from now on.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the chain of all rows, here and not there.")
    ] = False,
    expect: Annotated[
        str,
        typer.Option(metavar="ROW:HASH", help="With --verify: this place must be in the chain."),
    ] = "",
    export: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write all rows as JSON lines, the oldest first; -: out"),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --verify: an export, no cluster.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="With --export: replace a file that is there already.")
    ] = False,
) -> int:
    """Show who did what: one row for each request that changed something.

    Also for what was refused for want of rights (at most one row a minute for each key and kind of
    request). Each row is tied to the one before by a hash: --verify finds rows that were altered
    or removed, and prints the place of the newest. Keep that elsewhere: --expect then finds a
    chain that was made anew as a whole.
    """
    from ..client import auditing

    if force and (export is None or str(export) == STDOUT):
        raise Invalid("--force goes with --export FILE", field="force")
    _check(which, follow=follow, verify=verify, export=export, expect=expect, file=file)
    if verify and file is not None:
        found_in_file = auditing.verify_rows(_read(file), None, None, expect)
        if not found_in_file.rows:
            raise Invalid(f"{file} has no rows: what was exported has some", field="file")
        return _report(session, found_in_file)
    filters = auditing.filters_of(
        by=which.by, verb=which.verb, since=which.since, until=which.until
    )
    if export is not None and str(export) != STDOUT:
        check_target(export, force=force)
    with session.connect() as link:
        if verify:
            return _verify(session, link, expect)
        if export is not None:
            return _export(session, export, auditing.all_rows(link, filters), force=force)
        if follow:
            for each in auditing.following(link, filters):
                _print(each, as_json=session.json, quiet=session.quiet)
        found = auditing.newest(link, filters, which.limit, which.cursor)
    _show(session, found)
    return 0


def _check(
    which: Which, *, follow: bool, verify: bool, export: Path | None, expect: str, file: Path | None
) -> None:
    """Raise Invalid for options that would be passed over in silence."""
    if (expect or file) and not verify:
        raise Invalid(f"--{'expect' if expect else 'file'} goes with --verify", field="verify")
    asked = {"--verify": verify, "--export": export is not None, "--follow": follow}
    modes = [name for name, is_asked in asked.items() if is_asked]
    if len(modes) > 1:
        raise Invalid(f"{' and '.join(modes)} do not go together: ask one after the other")
    if modes and which.cursor:
        raise Invalid(f"--cursor does not go with {modes[0]}: leave it out", field="cursor")
    if verify and (which.by or which.verb or which.since or which.until):
        raise Invalid(
            "--verify follows the chain of all rows: leave --by, --verb, --since and --until out",
            field="verify",
        )


def _show(session: Session, found: Slice) -> None:
    if session.json:
        screen.document([document(row) for row in found.rows])
        return
    for row in found.rows:
        _print(row, as_json=False, quiet=session.quiet)
    if session.quiet:
        return
    if found.next:
        shown = f"{len(found.rows):,} of {found.total:,} shown"
        screen.remark(f"{shown}; older: --cursor {found.next}")
    elif not found.rows:
        screen.remark("no such rows")


def _verify(session: Session, link: Connection, expect: str) -> int:
    from ..client import auditing

    _, head = auditing.ends(link)
    with Gauge(session, head.seq) as gauge:
        found = auditing.verify(link, expect, lambda seq: gauge.show(seq, f"row {seq:,}", head.seq))
    return _report(session, found)


def document(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row for programs; with `at_ms` and `hash` it can be checked."""
    return {
        "seq": row["seq"],
        "at": rfc3339(row["at_ms"]),
        "at_ms": row["at_ms"],
        "principal": row["principal"],
        "verb": row["verb"],
        "subject": row["subject"],
        "hash": row["hash"].hex(),
    }


def _print(row: dict[str, Any], *, as_json: bool, quiet: bool = False) -> None:
    if as_json:
        screen.line(json.dumps(document(row), ensure_ascii=False))
    elif quiet:
        screen.line(str(row["seq"]))
    else:
        said = one_line(row["subject"], SUBJECT_CHARS)
        who = f"{row['verb']:<{VERB_CELLS}}  {row['principal']:<{BY_CELLS}}"
        style = "yellow" if row["verb"] == "refused" else ""
        screen.trimmed(screen.styled(f"{rfc3339(row['at_ms'])}  {who}  {said}", style))
    sys.stdout.flush()


def _export(session: Session, path: Path, rows: Iterable[dict[str, Any]], *, force: bool) -> int:
    """Write rows as they come: never all of them are in memory."""
    written = 0
    with target_of(str(path), force=force) as target, Gauge(session) as gauge:
        for written, row in enumerate(rows, 1):
            target.write(json.dumps(document(row), ensure_ascii=False) + "\n")
            gauge.show(written, f"{written:,} rows")
    if not session.quiet:
        screen.remark(f"{counted(written, 'row')} written to {path}")
    return 0


def _read(path: Path) -> Iterator[dict[str, Any]]:
    """Read an export; raises Invalid for what is none."""
    if path.is_dir():
        raise Invalid(f"{path} is a folder: name the file of an export", field="file")
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(FOUND_LINES_BYTES_MAX), b""), 1):
            try:
                row = json.loads(line)
                row["hash"] = bytes.fromhex(row["hash"])
                row["seq"], row["at_ms"] = int(row["seq"]), int(row["at_ms"])
                for name in ("principal", "verb", "subject"):
                    row[name] = str(row[name])
            except (ValueError, KeyError, TypeError) as error:
                raise Invalid(
                    f"{path}:{number}: is no row of `remuda audit --export`", field="file"
                ) from error
            yield row


def _report(session: Session, verdict: Verdict) -> int:
    """Say what a look at the chain found; return the exit code."""
    from ..client.auditing import pin_of

    if session.json:
        screen.document(
            {
                "is_sound": verdict.is_sound,
                "rows": verdict.rows,
                "anchor": pin_of(verdict.anchor) if verdict.anchor.seq else None,
                "head": pin_of(verdict.head),
                "breaks": verdict.breaks,
                "is_expected_found": verdict.is_pin_found,
            }
        )
        return 0 if verdict.is_sound else BROKEN
    for each in verdict.breaks:
        screen.line(screen.styled(each, "bold red") if screen.has_colour() else each)
    if verdict.is_pin_found is False:
        before = (
            f", or went with the rows up to {verdict.anchor.seq:,}" if verdict.anchor.seq else ""
        )
        screen.line(f"the expected place is not in the chain: it was made anew{before}")
    if verdict.is_sound:
        since = f" since row {verdict.anchor.seq:,}" if verdict.anchor.seq else ""
        screen.line(f"{counted(verdict.rows, 'row')}{since}: the chain holds")
        screen.line(f"head {pin_of(verdict.head)}")
    return 0 if verdict.is_sound else BROKEN
