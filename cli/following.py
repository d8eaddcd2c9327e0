"""What is shown while batches go on, and how does the wait for them end?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import screen
from .commands import Session
from .gauge import Gauge, pace
from .interrupts import INTERRUPTED, raising_interrupts
from .refs import TERMINAL
from .task_changes import outcome_counts
from .writing import counted, span

if TYPE_CHECKING:
    from ..client.batch_watch import Look
    from ..client.connection import Connection

FAILED, TIMED_OUT = 1, 124
SHOWN_STATES = ("running", "stopping", "failed", "cancelled")


def follow(
    session: Session, link: Connection, batches: Sequence[bytes], *, timeout_s: float | None = None
) -> tuple[int, list[Look]]:
    """Wait for batches with a bar; return the exit code, and how they ended if that was seen."""
    from ..client.batch_watch import wait_batches

    try:
        with raising_interrupts(), Gauge(session) as gauge:
            looks = wait_batches(
                link,
                batches,
                timeout_s=timeout_s,
                on_look=lambda looks: _show(gauge, looks),
            )
    except TimeoutError:
        screen.remark(f"still going on after {span(timeout_s or 0)}: nothing was changed")
        return TIMED_OUT, []
    except KeyboardInterrupt:
        screen.remark("stopped looking; the tasks go on")
        return INTERRUPTED, []
    counts = summed(looks)
    return 0 if counts.keys() <= {"succeeded"} else FAILED, looks


def wait(
    session: Session, link: Connection, batches: Sequence[bytes], *, timeout_s: float | None = None
) -> int:
    """Wait for batches and say how many of their tasks ended how; return the exit code."""
    code, looks = follow(session, link, batches, timeout_s=timeout_s)
    if looks and not session.quiet:
        counts = summed(looks)
        screen.line(f"{counted(counts.total(), 'task')}: {outcome_counts(counts.elements())}")
    return code


def summed(looks: Sequence[Look]) -> Counter[str]:
    """Add the counts of batches up."""
    counts: Counter[str] = Counter()
    for look in looks:
        counts.update(look["counts"])
    return counts


def progress_line(counts: Counter[str], total: int, rate: float | None) -> str:
    """Say how far it is in one line: what ended of how many, what else there is, the pace."""
    ended = sum(counts[word] for word in TERMINAL)
    parts = [f"{ended:,}/{total:,}"]
    parts += [f"{counts[word]:,} {word}" for word in SHOWN_STATES if counts[word]]
    return "  ".join(filter(None, [*parts, pace(rate, total - ended)]))


def _show(gauge: Gauge, looks: Sequence[Look]) -> None:
    counts = summed(looks)
    rates = [look["rate"] for look in looks if look.get("rate")]
    ended = sum(counts[word] for word in TERMINAL)
    gauge.show(ended, progress_line(counts, counts.total(), sum(rates) or None), counts.total())
