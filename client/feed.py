"""What happened on the cluster: the operators' feed, once or for as long as it is read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..protocol import ids
from ..protocol.messages import EventRows, Events
from .connection import Connection
from .courier import RESEND_S
from .moments import parse_past_ms

LIMIT = 100
ROWS_MAX = 1_000
GAP = "feed.gap"


@dataclass(frozen=True, slots=True)
class Event:
    """One row of the feed; `kind` is like `node.lost` or `task.try_failed`.

    `task`, `owner`, `attempt` and `code` are empty for news that is not of one task. A row of the
    kind `feed.gap` says that what came before it is gone: the scheduler was restarted, or it kept
    no more.
    """

    seq: int
    at: dt.datetime
    kind: str
    level: str
    text: str
    node: str = ""
    task: str = ""
    owner: str = ""
    attempt: int = 0
    code: str = ""


def events(
    link: Connection,
    *,
    follow: bool = False,
    since: object = None,
    node: str = "",
    task: bytes = b"",
    batch: bytes = b"",
    kinds: Sequence[str] = (),
    limit: int = LIMIT,
) -> Iterator[Event]:
    """Yield the newest events, oldest first; with `follow` go on until the caller stops.

    Following survives a restart of the scheduler. Raises Unreachable only at the beginning.
    """
    wanted: dict[str, Any] = {"node": node, "task": task, "batch": batch, "kinds": list(kinds)}
    wanted["since_ms"] = parse_past_ms("since", since)
    filters = {key: value for key, value in wanted.items() if value}
    answer = link.request(Events(0, 0, 0, min(limit, ROWS_MAX), filters), EventRows)
    yield from map(_event, answer.rows)
    while follow:
        poll_s = link.table.poll_s
        message = Events(answer.epoch, answer.seq, int(poll_s * 1000), ROWS_MAX, filters)
        before = answer.epoch
        answer = link.request(message, EventRows, timeout_s=0, answer_s=poll_s + RESEND_S)
        if answer.gap:
            yield _gap(answer, before)
        yield from map(_event, answer.rows)


def _gap(answer: EventRows, epoch: int) -> Event:
    why = "the scheduler was restarted" if answer.epoch != epoch else "it keeps no more"
    return Event(0, dt.datetime.now(dt.UTC), GAP, "warning", f"what came before is gone: {why}")


def _event(row: dict[str, Any]) -> Event:
    """Read a row, of which a newer scheduler may know more."""
    task, batch = row.get("task") or b"", row.get("batch") or b""
    return Event(
        seq=row["seq"],
        at=dt.datetime.fromtimestamp(row["at_ms"] / 1000, dt.UTC),
        kind=row["kind"],
        level=row["level"],
        text=row["text"],
        node=row.get("node", ""),
        task=_id_text(task, batch),
        owner=row.get("owner", ""),
        attempt=row.get("attempt", 0),
        code=row.get("code", ""),
    )


def _id_text(task: bytes, batch: bytes) -> str:
    if not task:
        return ""
    return ids.format_id(ids.from_bytes(task), ids.from_bytes(batch) if batch else 0)
