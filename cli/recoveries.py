"""What is decided after a restore: `remuda recovery`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..protocol import ids
from ..protocol.errors import Invalid
from . import screen
from .commands import Session, command
from .screen import Column
from .writing import counted, id_text, one_line, rfc3339

if TYPE_CHECKING:
    from ..client.connection import Connection

STRANGERS = (
    Column("TASK"),
    Column("ATTEMPT", right=True),
    Column("NODE"),
    Column("IS"),
    Column("OWNER"),
    Column("WHY", wide=True),
    Column("WHAT", wide=True),
)
DOUBTS = (
    Column("TASK"),
    Column("NUMBER", right=True),
    Column("WAS"),
    Column("ATTEMPT", right=True),
    Column("NODE"),
    Column("OWNER"),
    Column("NAME", wide=True),
)
WHAT_CHARS = 80
Tasks = Annotated[
    list[str] | None, typer.Argument(metavar="TASK...", help="Ids, as `list` shows them.")
]
Attempts = Annotated[
    list[str] | None,
    typer.Argument(metavar="TASK[@ATTEMPT]...", help="Ids, as `list` shows them."),
]
All = Annotated[bool, typer.Option("--all", help="All that are undecided.")]
Limit = Annotated[int, typer.Option(metavar="N", min=1, max=1_000, help="Rows to show of each.")]


@command("recovery list", example="remuda recovery list\nremuda recovery list --json")
def recovery_list(session: Session, limit: Limit = 100) -> int:
    """Show what is undecided after a restore.

    Strangers are attempts that nodes hold and the journal does not know: adopt or kill them.
    Doubts are tasks that were open in the backup and that no node shows: they may have run since,
    so have them run again, or fail. Then `remuda recovery release`. Exits with 1 while held.
    """
    from ..client import recovering

    with session.connect() as link:
        strangers = recovering.page(link, "strangers", limit)
        doubts = recovering.page(link, "doubts", limit)
    if session.json:
        screen.document(_document(strangers, doubts))
        return int(strangers["held"])
    if not strangers["held"]:
        screen.remark("not held: nothing is to be decided")
        return 0
    if session.quiet:
        for row in (*strangers["rows"], *doubts["rows"]):
            screen.line(id_text(row["task"], row["batch"]))
        return 1
    _head(strangers)
    if strangers["rows"]:
        screen.line(f"\n{_shown(strangers, 'strangers', 'stranger')}: adopt or kill")
        screen.table(STRANGERS, [_stranger(row) for row in strangers["rows"]])
    if doubts["rows"]:
        screen.line(f"\n{_shown(doubts, 'doubts', 'task')} in doubt: rerun or fail")
        screen.table(DOUBTS, [_doubt(row) for row in doubts["rows"]])
    return 1


@command(
    "recovery adopt",
    example="remuda recovery adopt --all\nremuda recovery adopt 01JC2W0A6T5V3ZB8N2Q4R6S8XY@2",
)
def recovery_adopt(session: Session, tasks: Attempts = None, everything: All = False) -> None:
    """Let strangers go on as attempts of their tasks; their results will count.

    A task that was submitted after the backup comes back under its id, as its node knows it.
    """
    _decide(session, "adopt", tasks, everything=everything)


@command(
    "recovery kill",
    example="remuda recovery kill --all\nremuda recovery kill 01JC2W0A6T5V3ZB8N2Q4R6S8XY@2",
)
def recovery_kill(session: Session, tasks: Attempts = None, everything: All = False) -> None:
    """Have strangers stopped on their nodes; what they did is lost."""
    _decide(session, "kill", tasks, everything=everything)


@command(
    "recovery rerun",
    example="remuda recovery rerun --all\nremuda recovery rerun 01JC2W0A6T5V3ZB8N2Q4R6S8XY",
)
def recovery_rerun(session: Session, tasks: Tasks = None, everything: All = False) -> None:
    """Have tasks in doubt run (again, it may be) once the hold is released."""
    _decide(session, "rerun", tasks, everything=everything)


@command(
    "recovery fail",
    example="remuda recovery fail --all\nremuda recovery fail 01JC2W0A6T5V3ZB8N2Q4R6S8XY",
)
def recovery_fail(session: Session, tasks: Tasks = None, everything: All = False) -> None:
    """End tasks in doubt as failed, with the code `restored`; `task retry` can copy them later."""
    _decide(session, "fail", tasks, everything=everything)


@command("recovery release", example="remuda recovery release")
def recovery_release(
    session: Session,
    force: Annotated[
        bool,
        typer.Option("--force", help="Although nodes did not come: what they hold is stopped."),
    ] = False,
) -> None:
    """End the hold: work is given out again. Refused while anything is undecided."""
    from ..client import recovering

    with session.connect() as link:
        _say(session, link, "release", [recovering.decide(link, "release", force=force)])


def _decide(session: Session, verb: str, refs: list[str] | None, *, everything: bool) -> None:
    from ..client import recovering

    if bool(refs) == everything:
        raise Invalid("name tasks, or all of them with --all", field="tasks")
    parsed = [_attempt(ref) for ref in refs or ()]
    with session.connect() as link:
        if refs:
            tasks, numbers = zip(*parsed, strict=True)
            attempts = numbers if verb in ("adopt", "kill") else ()
            said: Iterable[str] = [recovering.decide(link, verb, tasks, attempts)]
        else:
            said = _decide_all(link, verb)
        _say(session, link, verb, said)


def _say(session: Session, link: Connection, verb: str, said: Iterable[str]) -> None:
    """Say what was done, each slice as it is done; to programs all of it at the end."""
    rows: list[dict[str, str]] = []
    for text in said:
        rows.append({"verb": verb, "cluster": link.cluster, "message": text})
        if not (session.json or session.quiet):
            screen.line(text)
    if session.json:
        screen.document(rows)
    elif not rows:
        screen.remark(f"nothing to {verb} is left")


def _decide_all(link: Connection, verb: str) -> Iterator[str]:
    """Decide slice by slice, until nothing is left or nothing more can be done."""
    from ..client import recovering

    key = "strangers" if verb in ("adopt", "kill") else "doubts"
    left = recovering.summary(link).get(key, 0)
    while left:
        yield recovering.decide(link, verb, everything=True)
        before, left = left, recovering.summary(link).get(key, 0)
        if left >= before:
            return


def _attempt(ref: str) -> tuple[bytes, int]:
    text, _, number = ref.partition("@")
    if number and not number.isdecimal():
        raise Invalid(f"{ref}: write TASK@ATTEMPT", field="tasks")
    try:
        return ids.to_bytes(ids.parse_id(text)), int(number or 0)
    except ValueError as error:
        raise Invalid(
            f"{ref}: is no whole id as `remuda recovery list` shows it (short numbers may mean "
            "other tasks since the restore)",
            field="tasks",
        ) from error


def _head(body: dict[str, Any]) -> None:
    screen.line(
        f"held since {rfc3339(body['since_ms'])}, restored by {body['principal']} from a backup "
        f"of {rfc3339(body['backup_ms'])}"
    )
    if body["missing"]:
        screen.line(f"not heard since: {', '.join(body['missing'])}")
    if not (body["strangers"] or body["doubts"]):
        screen.line("all is decided: `remuda recovery release` gives work out again")


def _shown(body: dict[str, Any], key: str, noun: str) -> str:
    shown = f" ({len(body['rows']):,} shown)" if len(body["rows"]) < body[key] else ""
    return counted(body[key], noun) + shown


def _stranger(row: dict[str, Any]) -> list[str]:
    return [
        id_text(row["task"], row["batch"]),
        str(row["attempt"]),
        row["node"],
        row["phase"],
        row["owner"] or "?",
        row["why"],
        one_line(row["what"], WHAT_CHARS),
    ]


def _doubt(row: dict[str, Any]) -> list[str]:
    return [
        id_text(row["task"], row["batch"]),
        str(row["number"]),
        row["state"],
        str(row["attempt"]),
        row["node"],
        row["owner"],
        one_line(row["name"], WHAT_CHARS),
    ]


def _document(strangers: dict[str, Any], doubts: dict[str, Any]) -> dict[str, Any]:
    if not strangers["held"]:
        return {"held": False}
    return {
        "held": True,
        "since": rfc3339(strangers["since_ms"]),
        "backup": rfc3339(strangers["backup_ms"]),
        "principal": strangers["principal"],
        "missing": strangers["missing"],
        "strangers_total": strangers["strangers"],
        "doubts_total": doubts["doubts"],
        "strangers": [_plain(row) for row in strangers["rows"]],
        "doubts": [_plain(row) for row in doubts["rows"]],
    }


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {
        **{key: value for key, value in row.items() if key != "batch"},
        "task": id_text(row["task"], row["batch"]),
    }
