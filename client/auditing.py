"""Who did what: the audit's rows, and whether the chain of all of them holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..protocol.chain import START, Link, follow
from ..protocol.errors import Invalid
from ..protocol.keeping import AUDIT_ROWS_MAX
from ..protocol.messages import Document, ListAudit
from .connection import Connection
from .moments import parse_past_ms

FOLLOW_EVERY_S = 1.0
BREAKS_MAX = 10
PIN_CHARS_MIN = 16


class Slice(NamedTuple):
    """Some rows; `next` is where older ones begin (0: there are none), `total` counts all."""

    rows: list[dict[str, Any]]
    next: int
    total: int


@dataclass(slots=True)
class Verdict:
    """What a look at the whole chain found; `breaks` has the first few places that are wrong.

    `anchor` is the last row that was removed, `is_pin_found` None where nobody named one.
    """

    anchor: Link
    head: Link
    rows: int = 0
    breaks: list[str] = field(default_factory=list)
    is_pin_found: bool | None = None

    @property
    def is_sound(self) -> bool:
        return not self.breaks and self.is_pin_found is not False


def filters_of(
    *, by: str = "", verb: str = "", since: object = None, until: object = None
) -> dict[str, Any]:
    """Write filters for a request; times are durations until now, or moments."""
    wanted: dict[str, Any] = {
        "by": by,
        "verb": verb,
        "since_ms": parse_past_ms("since", since),
        "until_ms": parse_past_ms("until", until),
    }
    if until and wanted["since_ms"] > wanted["until_ms"]:
        raise Invalid("since is later than until: nothing lies between them", field="since")
    return {key: value for key, value in wanted.items() if value}


def newest(link: Connection, filters: dict[str, Any], limit: int, before: int = 0) -> Slice:
    """Return the newest rows (before one), the oldest of them first."""
    rows: list[dict[str, Any]] = []
    while True:
        asked = min(limit - len(rows), AUDIT_ROWS_MAX)
        body = link.request(ListAudit(before, limit=asked, filters=filters), Document).body
        rows += body["rows"]
        before = body["next"]
        if not before or len(rows) >= limit:
            return Slice(rows[::-1], before, body["total"])


def all_rows(link: Connection, filters: dict[str, Any], after: int = 0) -> Iterator[dict[str, Any]]:
    """Yield rows from one on, the oldest first, as they are read."""
    while True:
        message = ListAudit(after=after, limit=AUDIT_ROWS_MAX, filters=filters)
        body = link.request(message, Document).body
        yield from body["rows"]
        after = body["next"]
        if not after:
            return


def following(link: Connection, filters: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield rows as they are written, for as long as somebody looks."""
    after = ends(link)[1].seq
    while True:
        for row in all_rows(link, filters, after):
            after = row["seq"]
            yield row
        time.sleep(FOLLOW_EVERY_S)


def ends(link: Connection) -> tuple[Link, Link]:
    """Return the anchor and the head of the chain."""
    body = link.request(ListAudit(limit=1), Document).body
    return Link(*body["anchor"]), Link(*body["head"])


def verify(
    link: Connection, pin: str = "", on_row: Callable[[int], None] = lambda _seq: None
) -> Verdict:
    """Follow the whole chain here, row by row, from the anchor to the head."""
    anchor, head = ends(link)
    return verify_rows(all_rows(link, {}, anchor.seq), anchor, head, pin, on_row)


def verify_rows(
    rows: Iterable[dict[str, Any]],
    anchor: Link | None,
    head: Link | None,
    pin: str = "",
    on_row: Callable[[int], None] = lambda _seq: None,
) -> Verdict:
    """Follow a chain from its anchor; without one a first row that is not row 1 is trusted."""
    seq, text = read_pin(pin)
    last = anchor or Link(0, START)
    verdict = Verdict(last, last, is_pin_found=_is_pinned(last, seq, text) if pin else None)
    for row in rows:
        if anchor is None and not verdict.rows and row["seq"] != 1:
            last, wrong = Link(row["seq"], row["hash"]), ""
            verdict.anchor = last
        else:
            last, wrong = follow(last, row)
        verdict.rows += 1
        if wrong and len(verdict.breaks) < BREAKS_MAX:
            verdict.breaks.append(wrong)
        if pin and not verdict.is_pin_found:
            verdict.is_pin_found = _is_pinned(last, seq, text)
        on_row(last.seq)
    verdict.head = last
    if head is not None and last.seq < head.seq:
        verdict.breaks.append(f"the rows end at {last.seq}, and the chain at {head.seq}")
    return verdict


def read_pin(pin: str) -> tuple[int, str]:
    """Read `HASH` or `ROW:HASH`; raises Invalid."""
    if not pin:
        return 0, ""
    seq, _, text = pin.rpartition(":")
    text = text.lower()
    is_hash = len(text) >= PIN_CHARS_MIN and not set(text) - set("0123456789abcdef")
    if (seq and not seq.isdecimal()) or not is_hash:
        raise Invalid(
            f"--expect {pin}: write it as `remuda audit --verify` prints it, ROW:HASH",
            field="expect",
        )
    return int(seq or 0), text


def _is_pinned(place: Link, seq: int, text: str) -> bool:
    return seq in (0, place.seq) and bool(place.hash) and place.hash.hex().startswith(text)


def pin_of(place: Link) -> str:
    """Write a place of the chain so that it can be kept elsewhere."""
    return f"{place.seq}:{place.hash.hex()}"
