"""The verbs that change the configuration, and those that look back: history, diff, rollback."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from ..protocol.errors import Invalid
from . import screen
from .commands import Session, command
from .config_confirming import Waiting, told
from .screen import Column
from .writing import age, rfc3339

LIMIT_MAX = 500
CHANGED_SHOWN_MAX = 4
Answer = Mapping[str, Any]
Node = Annotated[
    str, typer.Option("--node", metavar="NAME", help="For this node alone, before all others.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Judge it and say what it would change; change nothing.")
]
IfVersion = Annotated[
    int,
    typer.Option(
        "--if-version", metavar="N", min=0, help="Only while N is the newest version; else refuse."
    ),
]


@command(
    "config set",
    example="remuda config set scheduler.lease 20s\n"
    "remuda config set scheduler.lost_after 2m scheduler.replace_after 3m\n"
    "remuda config set --node gpu-07 node.foreign_processes avoid\n"
    "remuda config set placement.policy spread --dry-run",
)
def config_set(
    session: Session,
    waiting: Waiting,
    pairs: Annotated[
        list[str], typer.Argument(metavar="KEY VALUE...", help="Keys, each with its value.")
    ],
    node: Node = "",
    dry_run: DryRun = False,
    if_version: IfVersion = 0,
) -> int:
    """Change values while all runs: for the scheduler, its store and every node, or one node.

    All of it is judged together before anything changes. A value that a file given with --config,
    the environment or an option of a daemon sets is stronger, and refused. What takes effect only
    after a restart is said. Waits until every node that is heard, and the store, has confirmed.
    """
    if len(pairs) % 2:
        raise Invalid(f"{pairs[-1]}: a value is missing: write KEY VALUE, as scheduler.lease 20s")
    edits = [
        {"key": key, "value": value, "node": node}
        for key, value in zip(pairs[::2], pairs[1::2], strict=True)
    ]
    return _change(session, edits, if_version, dry_run=dry_run, waiting=waiting)


@command(
    "config unset",
    example="remuda config unset scheduler.lease\n"
    "remuda config unset --node gpu-07 node.labels node.foreign_processes",
)
def config_unset(
    session: Session,
    waiting: Waiting,
    keys: Annotated[list[str], typer.Argument(metavar="KEY...", help="Keys, or whole tables.")],
    node: Node = "",
    dry_run: DryRun = False,
    if_version: IfVersion = 0,
) -> int:
    """Take back what `config set` changed: files and defaults count again."""
    edits = [{"key": key, "node": node} for key in keys]
    return _change(session, edits, if_version, dry_run=dry_run, waiting=waiting)


@command("config reload", example="remuda config reload\nremuda config reload --dry-run")
def config_reload(
    session: Session,
    waiting: Waiting,
    dry_run: DryRun = False,
) -> int:
    """Have the scheduler, its store and every node read their files again.

    What is wrong with a file of the scheduler is said, and nothing changes anywhere. A node whose
    own files are wrong says so and keeps what it had. SIGHUP does the same to a single daemon.
    """
    from ..client import configuring

    with session.connect() as link:
        answer = configuring.reload(link, dry_run=dry_run)
        return told(session, link, answer, waiting)


@command("config rollback", example="remuda config rollback\nremuda config rollback 12 --dry-run")
def config_rollback(
    session: Session,
    waiting: Waiting,
    version: Annotated[
        int | None,
        typer.Argument(metavar="[N]", min=1, help="A version (default: the one before)."),
    ] = None,
    dry_run: DryRun = False,
    if_version: IfVersion = 0,
) -> int:
    """Make the configuration as it was in an earlier version; that is a new version.

    Where files say something else since, the earlier value is kept as a change.
    """
    from ..client import configuring

    with session.connect() as link:
        answer = configuring.rollback(link, version or 0, if_version=if_version, dry_run=dry_run)
        return told(session, link, answer, waiting)


@command("config history", example="remuda config history\nremuda config history --limit 5 --json")
def config_history(
    session: Session,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=LIMIT_MAX, help="How many to show.")
    ] = 100,
    cursor: Annotated[
        str, typer.Option(metavar="CURSOR", help="Go on where the last page ended.")
    ] = "",
) -> None:
    """List the versions that were accepted: when, by whom, and what each changed."""
    from ..client import configuring

    with session.connect() as link:
        page = configuring.versions(link, limit, cursor)
    if session.json:
        screen.document([_version(row) for row in page.rows])
    elif session.quiet:
        for row in page.rows:
            screen.line(str(row["version"]))
        return
    else:
        columns = (Column("VERSION", right=True), Column("AGE", right=True), Column("BY"),
                   Column("CAUSE"), Column("CHANGED", wide=True))  # fmt: skip
        now = time.time()
        screen.table(
            columns,
            [
                [str(row["version"]), age(now - row["at_ms"] / 1000), row["author"], row["cause"],
                 _changed_in_short(row["changed"])]
                for row in page.rows
            ],
        )  # fmt: skip
    if page.cursor:
        shown = f"{len(page.rows):,} of {page.total:,} shown"
        screen.remark(f"{shown}; more: --cursor {page.cursor}")


@command(
    "config diff",
    example="remuda config diff            # what a reload, or a restart, would change\n"
    "remuda config diff 11         # from version 11 until now\n"
    "remuda config diff 11 12",
)
def config_diff(
    session: Session,
    before: Annotated[
        str, typer.Argument(metavar="[A]", help="A version, `running`, or `file`.")
    ] = "",
    after: Annotated[
        str, typer.Argument(metavar="[B]", help="A version, `running` (default), or `file`.")
    ] = "",
) -> int:
    """Show what differs between two configurations; exit code 1 if something does.

    `running` is what the scheduler goes by, `file` what its files say now.
    """
    from ..client import configuring

    first, second = (before or "running"), after or ("running" if before else "file")
    with session.connect() as link:
        rows = configuring.compare(link, first, second)
    if session.json:
        screen.document(rows)
    elif session.quiet:
        for row in rows:
            screen.line(str(row["key"]))
    else:
        for row in rows:
            screen.line(difference(row))
        if not rows:
            screen.remark(f"nothing differs between {first} and {second}")
    return int(bool(rows))


def difference(row: Answer) -> str:
    """Write what one value was and is."""
    where = f" on {row['node']}" if row.get("node") else ""
    return f"{row['key']}{where}: {_word(row['before'])} -> {_word(row['after'])}"


def _word(text: object) -> str:
    return "(unset)" if text is None else str(text).strip('"')


def _changed_in_short(changed: Sequence[Answer]) -> str:
    shown = [difference(row) for row in changed[:CHANGED_SHOWN_MAX]]
    if len(changed) > CHANGED_SHOWN_MAX:
        shown.append(f"and {len(changed) - CHANGED_SHOWN_MAX} more")
    return "; ".join(shown)


def _version(row: Answer) -> dict[str, Any]:
    return {
        "version": row["version"],
        "at": rfc3339(row["at_ms"]),
        "author": row["author"],
        "cause": row["cause"],
        "changed": list(row["changed"]),
        "notes": list(row["notes"]),
    }


def _change(
    session: Session,
    edits: Sequence[Mapping[str, Any]],
    if_version: int,
    *,
    dry_run: bool,
    waiting: Waiting,
) -> int:
    from ..client import configuring

    with session.connect() as link:
        answer = configuring.change(link, edits, if_version=if_version, dry_run=dry_run)
        return told(session, link, answer, waiting)
