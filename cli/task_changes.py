"""The verbs that change tasks: cancel and retry."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..protocol import ids
from ..protocol.errors import Conflict, Invalid, NotFound
from . import screen
from .commands import Session, command
from .refs import TERMINAL, Filters, Selection, confirm, select
from .task_options import duration_s
from .writing import counted, id_text, row_id

if TYPE_CHECKING:
    from ..client.connection import Connection

NAMED_MAX = 10
LISTS = (
    "env", "tag", "tags", "node", "nodes", "not_node", "not_nodes", "node_label", "labels",
    "resource", "resources", "or", "alternatives", "retry_on", "never_on", "output", "outputs",
)  # fmt: skip
VERDICTS = {
    "cancelled": "cancelled before it ran",
    "stopping": "stopping",
    "ended": "had ended already",
    "not_found": "not found",
}
Refs = Annotated[
    list[str] | None,
    typer.Argument(metavar="[TASK]...", help="Ids, numbers, ranges (3-9), batches or `last`."),
]
Grace = Annotated[
    str, typer.Option(metavar="TIME", help="Time between TERM and KILL (default: the task's).")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@command(
    "task cancel",
    example="remuda task cancel last\nremuda task cancel 3-9\nremuda cancel --active --tag team=a",
)
def task_cancel(
    session: Session,
    filters: Filters,
    tasks: Refs = None,
    grace: Grace = "",
    yes: Yes = False,
) -> None:
    """Cancel tasks; what runs is killed with all its processes."""
    from ..client import control

    grace_s = duration_s("grace", grace)
    with session.connect() as link:
        chosen = select(link, tasks or [], filters)
        confirm(chosen.count, "cancel", yes=yes)
        verdicts = control.cancel(
            link, chosen.tasks, [batch for batch, _ in chosen.batches], grace_s=grace_s
        )
        _report_cancelled(session, link, chosen, verdicts)


@command("cancel", example="remuda cancel 12 13")
def cancel(
    session: Session, filters: Filters, tasks: Refs = None, grace: Grace = "", yes: Yes = False
) -> None:
    """Cancel tasks (short for `task cancel`)."""
    task_cancel(session, filters, tasks, grace, yes=yes)


@command(
    "task retry",
    example="remuda task retry 12\nremuda task retry BATCH\nremuda task retry BATCH --all\n"
    "remuda task retry 12 --set vram=24GiB --set gpu-type=",
)
def task_retry(
    session: Session,
    filters: Filters,
    tasks: Refs = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Leave out those that succeeded.")
    ] = False,
    every: Annotated[
        bool, typer.Option("--all", help="Of a batch also the members that succeeded.")
    ] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="OPTION=VALUE", help="Change an option of the copies; repeatable."
        ),
    ] = None,
    yes: Yes = False,
) -> None:
    """Submit copies of tasks that have ended.

    A batch means its members that did not succeed, unless --all is given.
    """
    if failed and every:
        raise Invalid("--failed and --all contradict each other: leave one out", field="all")
    changed = changed_options(changes or [])
    with session.connect() as link:
        chosen = select(link, tasks or [], filters)
        batches = [batch for batch, _ in chosen.batches]
        members = _to_repeat(link, batches, every=every)
        confirm(len(chosen.tasks) + members, "retry", yes=yes)
        texts = _copies(link, chosen.tasks, [], changed, failed_only=failed) if chosen.tasks else []
        if members:
            texts += _copies(link, [], batches, changed, failed_only=not every)
        if session.json:
            screen.document([{"id": text} for text in texts])
            return
        if not session.quiet:
            of = f" (of {counted(chosen.count, 'task')})" if len(texts) < chosen.count else ""
            screen.remark(
                f"submitted {counted(len(texts), 'copy', 'copies')}{of} to {link.cluster}"
            )
        for text in texts:
            screen.line(text)


def _to_repeat(link: Connection, batches: Sequence[bytes], *, every: bool) -> int:
    """Count the members of batches of which copies are meant; raises Conflict if none is."""
    from ..client import control

    counts: Counter[str] = Counter()
    for batch in batches:
        counts.update(control.show_batch(link, batch)["counts"])
    meant = TERMINAL if every else TERMINAL - {"succeeded"}
    found = sum(counts[word] for word in meant)
    if batches and not found:
        hint = "; --all repeats those too" if counts["succeeded"] else ""
        raise Conflict(f"nothing to retry: {outcome_counts(counts.elements())}{hint}")
    return found


def _copies(
    link: Connection,
    tasks: Sequence[bytes],
    batches: Sequence[bytes],
    changes: dict[str, Any],
    *,
    failed_only: bool,
) -> list[str]:
    """Submit copies; return their ids."""
    from ..client import control

    made = control.retry(link, tasks, batches, failed_only=failed_only, changes=changes)
    new = made.tasks or [
        ids.to_bytes(ids.member(ids.from_bytes(made.batch), made.offset + index))
        for index in range(made.count)
    ]
    return [id_text(task, made.batch) for task in new]


def changed_options(texts: Sequence[str]) -> dict[str, Any]:
    """Read `OPTION=VALUE` texts into fields of a spec; raises Invalid."""
    from ..client.options import to_changes

    options: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        key = name.strip().replace("-", "_")
        if not equals or not key:
            raise Invalid(f"--set {text}: write it like --set vram=24GiB", field="set")
        options[key] = [*options[key], value] if key in options else [value]
    try:
        return to_changes({key: _one_or_many(key, each) for key, each in options.items()})
    except TypeError as error:
        raise Invalid(f"--set: {error}", field="set") from error


def _one_or_many(name: str, values: list[str]) -> str | list[str]:
    """Return what was said once, or all of what was; nothing said empties what is a list."""
    if name in LISTS:
        return [value for value in values if value]
    if len(values) > 1:
        raise Invalid(f"--set {name}: is given twice", field="set")
    return values[0]


def _report_cancelled(
    session: Session, link: Connection, chosen: Selection, verdicts: list[tuple[bytes, str]]
) -> None:
    names = _names(chosen) | _members(link, [task for task, _ in verdicts if task in chosen.tasks])
    if session.json:
        rows = [{"id": names.get(task, id_text(task)), "verdict": v} for task, v in verdicts]
        screen.document(rows)
    elif session.quiet or len(verdicts) <= NAMED_MAX:
        for task, verdict in verdicts:
            text = names.get(task, id_text(task))
            screen.line(text if session.quiet else f"{text} {VERDICTS.get(verdict, verdict)}")
    if session.json or session.quiet:
        return
    counts = Counter(verdict for _, verdict in verdicts)
    said = ", ".join(f"{number:,} {VERDICTS.get(word, word)}" for word, number in counts.items())
    screen.remark(f"{counted(len(verdicts), 'task')} on {link.cluster}: {said or 'nothing to do'}")


def _names(chosen: Selection) -> dict[bytes, str]:
    """Name members of batches as `ID.7`."""
    names: dict[bytes, str] = {}
    for batch, count in chosen.batches:
        first = ids.from_bytes(batch)
        for index in range(count):
            task = ids.member(first, index)
            names[ids.to_bytes(task)] = ids.format_id(task, first)
    return names


def _members(link: Connection, tasks: Sequence[bytes]) -> dict[bytes, str]:
    """Ask for the names of a few tasks, which may be members of batches."""
    from ..client import control

    names: dict[bytes, str] = {}
    for task in tasks if len(tasks) <= NAMED_MAX else ():
        with contextlib.suppress(NotFound):
            names[task] = row_id(control.show_task(link, task))
    return names


def outcome_counts(states: Any) -> str:
    """Write `3 succeeded, 1 failed`."""
    return ", ".join(f"{number:,} {word}" for word, number in Counter(states).items())
