"""How are ended tasks removed: slice by slice, so that others are served in between?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from ..protocol import ids
from ..protocol.errors import Invalid
from ..protocol.messages import PRUNE_MAX, Document, Prune
from . import control
from .connection import Connection


def prune(
    link: Connection,
    tasks: Sequence[bytes] = (),
    batches: Sequence[bytes] = (),
    *,
    filters: Mapping[str, Any] | None = None,
    before_ms: int = 0,
    dry_run: bool = False,
) -> Counter[str]:
    """Remove ended tasks: those named, or those that match and ended before a time.

    Counts what was `removed` and, of those named, what is `open` or `unknown`. With `dry_run`
    nothing is removed. Raises Invalid when nothing says which.
    """
    if not tasks and not batches:
        return _matching(link, dict(filters or {}), before_ms, dry_run=dry_run)
    if filters or before_ms:
        raise Invalid("name tasks or say which match, not both")
    named = iter([*tasks, *_members(link, batches)])
    counts: Counter[str] = Counter()
    while chunk := list(islice(named, PRUNE_MAX)):
        body = link.request(Prune(chunk, {}, dry_run=dry_run), Document).body
        counts.update({word: body[word] for word in ("removed", "open", "unknown")})
    return counts


def _matching(
    link: Connection, filters: dict[str, Any], before_ms: int, *, dry_run: bool
) -> Counter[str]:
    counts: Counter[str] = Counter()
    cursor = ""
    while True:
        message = Prune([], filters, before_ms, cursor, dry_run)
        body = link.request(message, Document).body
        counts["removed"] += body["removed"]
        cursor = body["cursor"]
        if not cursor:
            return counts


def _members(link: Connection, batches: Sequence[bytes]) -> list[bytes]:
    found: list[bytes] = []
    for batch in batches:
        first, total = ids.from_bytes(batch), control.batch_total(link, batch)
        found += [ids.to_bytes(ids.member(first, index)) for index in range(total)]
    return found
