"""Which promises did a run break? Every rule is asked."""

from __future__ import annotations

from collections.abc import Mapping

from . import of_cards, of_scheduler, of_tasks, of_time
from .history import History
from .journal import Records


def violations(
    history: History, records: Records, runs: Mapping[bytes, int] | None = None
) -> list[str]:
    """Name every broken promise, each with its rule.

    `runs` counts how often each task really did its work; hand it in only where nothing was lost
    with a node: there a task may run twice.
    """
    return [
        *history.found,
        *of_tasks.acknowledged_is_stored(history, records),
        *of_tasks.one_success(history, records),
        *of_tasks.attempts_grow(records),
        *of_tasks.success_is_true(history, records),
        *of_tasks.outputs_are_stored(history, records),
        *of_tasks.work_is_done_once(records, runs),
        *of_cards.lent_once(history),
        *of_cards.alone_unless_lost(history),
        *of_cards.starved_gets_more(history),
        *of_scheduler.epochs_grow(history, records),
        *of_time.cancelled_is_gone(history, records),
        *of_time.all_ends(history, records),
        *of_scheduler.counts_conserve(history, records),
        *of_scheduler.cache_follows(history),
        *of_scheduler.changes_have_authors(history, records),
    ]
