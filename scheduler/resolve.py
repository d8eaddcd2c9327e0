"""What a user meant: `last`, `last-batch`, numbers, ids, members, batches and ranges of them."""

from __future__ import annotations

import re

from ..protocol import ids
from ..protocol.errors import Invalid, NotFound
from ..protocol.messages import Resolve, Resolved
from .access import Principal
from .view import View, may_see, owner_of

REFS_MAX = 1_000
REF_CHARS_MAX = 64
IDS_MAX = 10_000
LAST_BATCH = "last-batch"
_ABOVE_ALL = b"\xff" * 16
_NUMBER = re.compile(r"\d{1,15}")
_NUMBERS = re.compile(r"(\d{1,15})-(\d{1,15})")
_MEMBERS = re.compile(r"([0-9A-Za-z]{26})\.(\d{1,9})-(\d{1,9})")


def resolve(view: View, message: Resolve, principal: Principal) -> Resolved:
    """Answer with the single tasks meant, and for each ref the batch if it named a whole one.

    Raises NotFound or Invalid with the ref at fault as the field.
    """
    if len(message.refs) > REFS_MAX:
        raise Invalid(f"refs: found {len(message.refs)}, allowed are {REFS_MAX}", field="refs")
    tasks: list[int] = []
    batches: list[bytes] = []
    for ref in message.refs:
        found, batch = _one(view, ref.strip()[:REF_CHARS_MAX], principal)
        tasks += found
        batches.append(ids.to_bytes(batch) if batch else b"")
        if len(tasks) > IDS_MAX:
            raise Invalid(f"{ref}: more than {IDS_MAX} tasks are meant", field=ref)
    return Resolved([ids.to_bytes(task) for task in dict.fromkeys(tasks)], batches)


def _one(view: View, ref: str, principal: Principal) -> tuple[list[int], int]:
    if ref == "last":
        return _last(view, principal)
    if ref == LAST_BATCH:
        return [], _last_batch(view, principal)
    if _NUMBER.fullmatch(ref):
        return _numbers(view, ref, int(ref), int(ref), principal)
    if match := _NUMBERS.fullmatch(ref):
        return _numbers(view, ref, int(match[1]), int(match[2]), principal)
    if match := _MEMBERS.fullmatch(ref):
        first, last = int(match[2]), int(match[3])
        if not first <= last < first + IDS_MAX:
            raise Invalid(f"{ref}: is no range of at most {IDS_MAX} members", field=ref)
        batch = _parsed(match[1], ref)
        wanted = [ids.member(batch, index) for index in range(first, last + 1)]
        return _visible(view, wanted, ref, principal), 0
    return _id(view, _parsed(ref, ref), ref, principal)


def _parsed(text: str, ref: str) -> int:
    try:
        return ids.parse_id(text)
    except ValueError as error:
        raise NotFound(
            f"{ref!r} names no task: use a number, an id, ID.INDEX, a range or last", field=ref
        ) from error


def _last(view: View, principal: Principal) -> tuple[list[int], int]:
    newest = view.catalogue.last_task(principal.name)
    if newest is None:
        raise NotFound("last: you have submitted nothing yet", field="last")
    brief = view.history.briefs([newest])[newest]
    return ([], brief.batch) if brief.batch else ([newest], 0)


def _last_batch(view: View, principal: Principal) -> int:
    """Return the newest batch of whoever asks, whatever came after it."""
    found, _ = view.batches.page(principal.name, _ABOVE_ALL, 1)
    if not found:
        raise NotFound(f"{LAST_BATCH}: you have submitted no batch yet", field=LAST_BATCH)
    return found[0]


def _numbers(
    view: View, ref: str, first: int, last: int, principal: Principal
) -> tuple[list[int], int]:
    if not first <= last < first + IDS_MAX:
        raise Invalid(f"{ref}: is no range of at most {IDS_MAX} numbers", field=ref)
    found = view.history.task_ids(first, last - first + 1)
    return _visible(view, found, ref, principal), 0


def _id(view: View, wanted: int, ref: str, principal: Principal) -> tuple[list[int], int]:
    rows = view.history.batch_rows(wanted)
    if rows and may_see(rows[0].principal, principal):
        return [], wanted
    return _visible(view, [wanted], ref, principal), 0


def _visible(view: View, wanted: list[int], ref: str, principal: Principal) -> list[int]:
    missing = [task for task in wanted if task not in view.core.tasks]
    briefs = view.history.briefs(missing) if missing else {}
    found = []
    for task in wanted:
        known = view.core.tasks.get(task) or briefs.get(task)
        if known is not None and may_see(owner_of(known), principal):
            found.append(task)
    if not found:
        raise NotFound(f"there is no task {ref}, or no longer", field=ref)
    return found
