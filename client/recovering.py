"""A scheduler that was restored from a backup: what is in doubt, and what is decided of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..protocol.messages import DecideRecovery, Document, Done, ShowRecovery
from .connection import Connection

ROWS_MAX = 1_000


def summary(link: Connection) -> dict[str, Any]:
    """Return how the hold stands: `held`, and counts of what is undecided."""
    return link.request(ShowRecovery(), Document).body


def rows(link: Connection, what: str) -> Iterator[dict[str, Any]]:
    """Yield all `strangers` or `doubts` as they are read."""
    cursor = ""
    while True:
        body = link.request(ShowRecovery(what, ROWS_MAX, cursor), Document).body
        yield from body["rows"]
        cursor = body["cursor"]
        if not cursor:
            return


def page(link: Connection, what: str, limit: int, cursor: str = "") -> dict[str, Any]:
    """Return some `strangers` or `doubts`, with the summary and the next cursor."""
    return link.request(ShowRecovery(what, limit, cursor), Document).body


def decide(
    link: Connection,
    verb: str,
    tasks: Sequence[bytes] = (),
    attempts: Sequence[int] = (),
    *,
    everything: bool = False,
    force: bool = False,
) -> str:
    """Adopt or kill strangers, rerun or fail doubts, or release; return what was done."""
    message = DecideRecovery(verb, list(tasks), list(attempts), everything, force)
    return link.request(message, Done).message
