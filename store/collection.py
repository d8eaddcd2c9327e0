"""What may be removed, when is it asked about again, and how long does a claim live?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .rows import Row

RECHECK_MS_MAX = 3_600_000
MARGIN_MS_MAX = 60_000


class Plan(NamedTuple):
    """What an answer of the scheduler leads to."""

    keep: list[Row]
    remove: list[Row]


def plan(due: Sequence[Row], held: Sequence[bool]) -> Plan:
    """Divide what is due by whether a task refers to it; an answer that does not fit keeps all."""
    if len(due) != len(held):
        return Plan(list(due), [])
    pairs = list(zip(due, held, strict=True))
    return Plan([row for row, used in pairs if used], [row for row, used in pairs if not used])


def margin_ms(keep_ms: int) -> int:
    """Return how long before the end of its object's time a claim ends.

    A submission that came with the claim in its last moment is known to the scheduler when the
    store asks.
    """
    return min(keep_ms // 4, MARGIN_MS_MAX)


def recheck_ms(keep_ms: int) -> int:
    """Return after what time the scheduler is asked again about what a task refers to."""
    return min(keep_ms, RECHECK_MS_MAX)


def is_fresh(keep_until_ms: int, now_ms: int, keep_ms: int) -> bool:
    """Tell whether a claim may be given without keeping the object any longer than it is now."""
    return keep_until_ms - now_ms >= keep_ms - keep_ms // 8
