"""Which tasks are meant by ids, `last`, short numbers, batches, ranges and filters?"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..protocol import ids
from ..protocol.errors import Invalid, NotAllowed, Refused
from ..protocol.messages import Page
from . import screen
from .writing import counted, id_text

if TYPE_CHECKING:
    from ..client.connection import Connection

ASK_ABOVE = 10
PAGE_ROWS = 1_000
SELECTED_MAX = 100_000
STATES = (
    "waiting", "queued", "assigned", "running", "stopping", "succeeded", "failed", "cancelled",
)  # fmt: skip
TERMINAL = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of `task list`, which other task verbs take too."""

    active: Annotated[bool, typer.Option("--active", help="Only tasks that have not ended.")] = (
        False
    )
    state: Annotated[
        list[str] | None, typer.Option(metavar="STATE", help="Only this state; repeatable.")
    ] = None
    owner: Annotated[str, typer.Option(metavar="NAME", help="Only of this owner.")] = ""
    node: Annotated[str, typer.Option(metavar="NODE", help="Only on this node.")] = ""
    name: Annotated[str, typer.Option(metavar="TEXT", help="Only with this name.")] = ""
    batch: Annotated[str, typer.Option(metavar="ID", help="Only of this batch.")] = ""
    tag: Annotated[
        list[str] | None, typer.Option(metavar="K=V", help="Only with this tag; repeatable.")
    ] = None

    @property
    def given(self) -> bool:
        """Tell whether any filter was given."""
        return any(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True, slots=True)
class Selection:
    """The tasks and whole batches that were meant, and how many tasks that is."""

    tasks: tuple[bytes, ...]
    batches: tuple[tuple[bytes, int], ...] = ()

    @property
    def count(self) -> int:
        return len(self.tasks) + sum(members for _, members in self.batches)

    @property
    def every_task(self) -> list[bytes]:
        """List the ids of all tasks, members of batches included."""
        members = [
            ids.to_bytes(ids.member(ids.from_bytes(batch), index))
            for batch, count in self.batches
            for index in range(count)
        ]
        return [*self.tasks, *members]


def listing(link: Connection, filters: Filters, limit: int, cursor: str = "") -> Page:
    """Ask for one page of tasks, newest first.

    A scheduler that has looked through many rows answers with what it found so far.
    """
    from ..client import control

    wanted = as_listed(link, filters)
    rows: list[dict[str, Any]] = []
    while True:
        page = control.list_tasks(
            link,
            **wanted,
            limit=limit - len(rows),
            cursor=cursor,
        )
        rows += page.rows
        cursor = page.cursor
        if not cursor or len(rows) >= limit:
            return Page(rows, page.total, cursor)


def as_listed(link: Connection, filters: Filters) -> dict[str, Any]:
    """Return the filters that were given, by the names that a listing has for them."""
    wanted = {
        "active": filters.active,
        "states": _states(filters.state or []),
        "owner": filters.owner,
        "node": filters.node,
        "name": filters.name,
        "batch": one_batch(link, filters.batch) if filters.batch else b"",
        "tags": tags(filters.tag or []),
    }
    return {name: value for name, value in wanted.items() if value}


def name_unknown(link: Connection, *, node: str = "", owner: str = "") -> None:
    """Where nothing was found, say which name of those that were asked for nobody has."""
    from ..client import control

    _name_unknown("node", node, lambda: control.list_nodes(link))
    _name_unknown("key", owner, lambda: control.list_keys(link))


def _name_unknown(noun: str, name: str, ask: Callable[[], list[dict[str, Any]]]) -> None:
    if not name:
        return
    try:
        known = {str(row["name"]) for row in ask()}
    except NotAllowed:
        return  # who may not see the keys is not told which there are
    if name not in known:
        near = difflib.get_close_matches(name, sorted(known), 1)
        hint = f"did you mean {near[0]}?" if near else f"see `remuda {noun} list`"
        screen.remark(f"there is no {noun} {name}, now at least: {hint}")


def select(link: Connection, refs: Sequence[str], filters: Filters | None = None) -> Selection:
    """Find the tasks that are meant; raises Invalid when nothing says which."""
    from ..client import control

    if not refs and (filters is None or not filters.given):
        raise Invalid("which task? Name an id, a number, a range (3-9), a batch or `last`")
    if not refs:
        assert filters is not None
        return Selection(tuple(_pages(link, filters)))
    if filters is not None and filters.given:
        raise Invalid("name tasks or give filters, not both")
    resolved = control.resolve(link, [_spelled_out(link, ref) for ref in refs])
    named = dict.fromkeys(batch for batch in resolved.batches if batch)
    batches = tuple((batch, control.batch_total(link, batch)) for batch in named)
    return Selection(tuple(dict.fromkeys(resolved.tasks)), batches)


def _spelled_out(link: Connection, ref: str) -> str:
    """Put the id of the newest batch in the place of `last` in `last.7` or `last.3-9`."""
    word, dot, members = ref.partition(".")
    if word != "last" or not dot:
        return ref
    return f"{id_text(one_batch(link, word))}.{members}"


def select_one(link: Connection, ref: str) -> bytes:
    """Find the one task that is meant; raises Invalid when it is several."""
    found = select(link, [ref])
    if found.count != 1:
        raise Invalid(
            f"{ref} means {counted(found.count, 'task')}: name one of them, like {ref}.0"
            if found.batches
            else f"{ref} means {counted(found.count, 'task')}: name one of them"
        )
    return found.every_task[0]


def one_batch(link: Connection, ref: str) -> bytes:
    """Find the batch that is meant, `last` is the newest; raises Invalid when it is a task."""
    from ..client import control

    batch = control.find_batch(link, ref)
    if not batch:
        raise Invalid(f"{ref} is not a batch: `remuda submit --array` prints the id of one")
    return batch


def confirm(count: int, verb: str, *, yes: bool, noun: str = "task") -> None:
    """Ask before a verb touches many things; raises Refused when nobody can be asked."""
    if count > ASK_ABOVE and not yes:
        what = f"{verb} {counted(count, noun)}"
        ask(f"this will {what}", otherwise=f"this would {what}: add --yes to do so")


def ask(said: str, *, otherwise: str) -> None:
    """Have a person agree to what is said; raises Refused, with `otherwise` if nobody is there."""
    import sys

    if not sys.stdin.isatty():
        raise Refused(otherwise)
    screen.remark(said)
    if not typer.confirm("go on?", err=True):
        raise Refused("nothing was changed")


def tags(texts: Iterable[str]) -> dict[str, str]:
    """Read `K=V` texts; raises Invalid for others."""
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise Invalid(f"{text!r} is not K=V", field="tag")
        found[key] = value
    return found


def _states(words: Iterable[str]) -> list[str]:
    found = [part for word in words for part in word.lower().split(",") if part]
    for word in found:
        if word not in STATES:
            raise Invalid(f"{word!r} is not a state: {', '.join(STATES)}", field="state")
    return found


def _pages(link: Connection, filters: Filters) -> list[bytes]:
    found: list[bytes] = []
    cursor = ""
    while True:
        page = listing(link, filters, PAGE_ROWS, cursor)
        found += [bytes(row["id"]) for row in page.rows]
        cursor = page.cursor
        if not cursor:
            return found
        if len(found) > SELECTED_MAX:
            raise Refused(f"these are {page.total:,} tasks: narrow the filters")
