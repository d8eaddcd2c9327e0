"""I4, I11 and I15: who holds a card, who runs at one time, and how much comes after too little?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from remuda.protocol.resources import MILLI

from .history import History, Lend, Run
from .of_tasks import name_of

GIVEN_UP = frozenset({"lost"})
"""Outcomes after which another attempt may begin while the one before still runs."""


def lent_once(history: History) -> Iterator[str]:
    """I4: in each view the parts of a card never add up to more than the card."""
    by_card: dict[tuple[str, str], list[Lend]] = defaultdict(list)
    for lend in history.lends:
        by_card[lend.view, lend.uuid].append(lend)
    for run in history.runs:
        for uuid, share, vram in run.cards:
            holder = f"{name_of(run.task)}/{run.attempt} on {run.node}"
            by_card["task", uuid].append(
                Lend("task", uuid, holder, share, vram, run.start_ns, run.end_ns)
            )
    for (view, uuid), lends in by_card.items():
        memory = history.cards.get(uuid, 1 << 62)
        for together in _moments(lends):
            share = sum(lend.share_milli for lend in together)
            vram = sum(lend.vram_bytes for lend in together)
            whole = any(lend.share_milli == MILLI for lend in together)
            if share > MILLI or vram > memory or (whole and len(together) > 1):
                who = ", ".join(lend.holder for lend in together)
                yield f"I4 {uuid} is lent twice at {together[-1].start_ns} ns ({view}): {who}"
                break


def _moments(lends: list[Lend]) -> Iterator[list[Lend]]:
    """Yield who holds a card at the start of each lend."""
    living: list[Lend] = []
    for lend in sorted(lends, key=lambda each: each.start_ns):
        living = [other for other in living if other.end_ns > lend.start_ns]
        if lend.end_ns > lend.start_ns:
            living.append(lend)
            if len(living) > 1 or lend.share_milli > MILLI:
                yield living


def starved_gets_more(history: History) -> Iterator[str]:
    """I15: after a part of a card was too small, the next part is larger."""
    starved = {(run.task, run.attempt): run for run in history.runs if run.is_starved}
    for run in history.runs:
        before = starved.get((run.task, run.attempt - 1))
        tried = history.commits.tried.get((run.task, run.attempt - 1))
        if before is None or tried is None or tried.outcome != "failed":
            continue
        had, has = _vram(before), _vram(run)
        if has and has <= had < min(history.cards[uuid] for uuid, _, _ in before.cards):
            yield f"I15 {name_of(run.task)} ran out of {had} bytes and was lent {has} next"


def _vram(run: Run) -> int:
    return min((vram for _, _, vram in run.cards), default=0)


def alone_unless_lost(history: History) -> Iterator[str]:
    """I11: a task runs twice at a time only if its earlier attempt was given up, and an attempt
    never does."""
    by_task: dict[bytes, list[Run]] = defaultdict(list)
    for run in history.runs:
        by_task[run.task].append(run)
    for task, runs in by_task.items():
        runs.sort(key=lambda run: (run.start_ns, run.attempt))
        for at, later in enumerate(runs):
            for earlier in runs[:at]:
                if what := _overlap(history, earlier, later):
                    yield f"I11 {name_of(task)} {what}"


def _overlap(history: History, earlier: Run, later: Run) -> str:
    if earlier.attempt == later.attempt and earlier.node == later.node:
        return f"attempt {later.attempt} began twice on {later.node}"
    if earlier.end_ns <= later.start_ns or earlier.node in history.liars:
        return ""
    first, second = sorted((earlier, later), key=lambda run: run.attempt)
    both = f"attempts {first.attempt} on {first.node} and {second.attempt} on {second.node}"
    if later.task in history.fenced:
        if (earlier.task, earlier.attempt) in history.unguarded:
            return ""
        return f"is fenced and {both} lived at a time"
    if later.task in history.forgotten and not _are_known(history, first, second):
        return ""  # what was granted between a backup and its restore, for reasons forgotten
    tried = history.commits.tried.get((first.task, first.attempt))
    if tried is not None and tried.outcome not in GIVEN_UP:
        return f"{both} lived at a time, though the first was {tried.outcome or 'alive'}"
    return ""


def _are_known(history: History, *runs: Run) -> bool:
    """Tell whether each was written down before it began: what is adopted is written down later."""
    tried = (history.commits.tried.get((run.task, run.attempt)) for run in runs)
    pairs = zip(tried, runs, strict=True)
    return all(each is not None and each.granted_ns <= run.start_ns for each, run in pairs)
