"""What clients are told of batches: how far they are, how fast they go, what failed first."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Any

from ..protocol import ids
from ..protocol import messages as m
from ..protocol.codec import unpack_document
from ..protocol.errors import Invalid, MalformedFrame, NotFound
from .access import Principal
from .batch_history import BatchBrief
from .batches import EndedMembers, Tally
from .events import Now
from .listing import task_row
from .task import TERMINAL, State
from .view import View, id_bytes, may_see, read_id
from .watch import WORDS

SLICE_MEMBERS = 10_000
PAGE_MAX = 100
PAGE_MEMBERS_MAX = 10_000
MESSAGE_CHARS_MAX = 300
_NEWEST = b"\xff" * ids.ID_BYTES


def show_batch(view: View, message: m.ShowBatch, principal: Principal, now: Now) -> m.Document:
    batch = read_id(message.batch, "batch")
    brief = view.batches.brief(batch)
    if brief is None or not may_see(brief.owner, principal):
        raise NotFound(f"there is no batch {ids.format_id(batch)}", field="batch")
    if not 0 <= message.start <= brief.end:
        raise Invalid(f"start: found {message.start}, allowed are 0 to {brief.end}", field="start")
    tally = view.core.batches.get(batch)
    end = message.start + SLICE_MEMBERS
    if tally is not None and tally.is_whole:
        counts, failures, end = _by_state(tally), tally.failures, brief.end
    else:
        ended = view.batches.ended(batch, message.start, end)
        counts, failures = _counts(ended, tally if message.start == 0 else None), ended.failures
    body = _row(brief, counts, tally, now)
    first_id = ids.member(batch, 0)
    body["name"] = view.history.task_rows([first_id]).get(first_id, {}).get("name", "")
    body["failures"] = list(_failures(view, failures, principal))
    body["next"] = end if end < brief.end else 0
    return m.Document(body)


def list_batches(view: View, message: m.ListBatches, principal: Principal, now: Now) -> m.Page:
    owner = principal.owner_filter or message.owner
    limit = min(max(message.limit, 1), PAGE_MAX)
    below = _below(message.cursor)
    if message.active:
        found, cursor = _active(view, owner, below, limit)
    else:
        found, cursor = view.batches.page(owner, below, limit)
    briefs = [brief for batch in found if (brief := view.batches.brief(batch))]
    names = view.history.task_rows(ids.member(batch, 0) for batch in found)
    rows: list[dict[str, Any]] = []
    left = PAGE_MEMBERS_MAX
    for brief in briefs:
        tally = view.core.batches.get(brief.batch)
        if tally is not None and tally.is_whole:
            row = _row(brief, _by_state(tally), tally, now)
        elif brief.end <= left:
            left -= brief.end
            ended = view.batches.ended(brief.batch, 0, brief.end)
            row = _row(brief, _counts(ended, tally), tally, now)
        else:
            row = _row(brief, {}, tally, now)
            del row["counts"]
        row["name"] = names.get(ids.member(brief.batch, 0), {}).get("name", "")
        rows.append(row)
    return m.Page(rows, len(rows), ids.format_id(ids.from_bytes(cursor)) if cursor else "")


def _row(
    brief: BatchBrief, counts: dict[str, int], tally: Tally | None, now: Now
) -> dict[str, Any]:
    still_open = tally.open if tally else 0
    rate = tally.rate(now.wall_ms) if tally and still_open else None
    return {
        "id": id_bytes(brief.batch),
        "owner": brief.owner,
        "created_ms": brief.created_ms,
        "total": brief.total,
        "open": still_open,
        "counts": counts,
        "rate": rate,
        "eta_s": still_open / rate if rate else None,
    }


def _below(cursor: str) -> bytes:
    if not cursor:
        return _NEWEST
    try:
        return ids.to_bytes(ids.parse_id(cursor))
    except ValueError as error:
        raise Invalid("cursor: give back what the last page returned", field="cursor") from error


def _active(view: View, owner: str, below: bytes, limit: int) -> tuple[list[int], bytes]:
    """Return the newest batches with open tasks, from memory, and where to go on."""
    bound = ids.from_bytes(below)
    mine = (
        batch
        for batch, tally in view.core.batches.open().items()
        if batch < bound and owner in ("", tally.owner)
    )
    found = heapq.nlargest(limit, mine)
    return found, ids.to_bytes(found[-1]) if len(found) == limit else b""


def _by_state(tally: Tally) -> dict[str, int]:
    return {word: count for word, count in zip(WORDS, tally.counts, strict=True) if count}


def _counts(ended: EndedMembers, tally: Tally | None) -> dict[str, int]:
    """Count what the journal says has ended, and what memory says has not."""
    counts = {WORDS[state]: count for state, count in sorted(ended.counts.items())}
    if tally is not None:
        for state in State:
            if state not in TERMINAL and tally.counts[state]:
                counts[state.word] = tally.counts[state]
    return counts


def _failures(
    view: View, failures: Iterable[int], principal: Principal
) -> Iterator[dict[str, Any]]:
    """Write those that failed first, with what they said for whoever may see it."""
    wanted = list(failures)
    rows, results = view.history.task_rows(wanted), view.history.ended(wanted)
    for task in wanted:
        if task in rows:
            row = task_row(view, rows[task])
            if principal.sees_payloads and task in results:
                row["message"] = _message(results[task].details)
            yield row


def _message(details: bytes) -> str:
    """Read the words of a failure; what a node wrote passed no check when it was stored."""
    try:
        found = unpack_document(details) if details else {}
    except MalformedFrame:
        return ""
    return str(found.get("message") or "")[:MESSAGE_CHARS_MAX]
