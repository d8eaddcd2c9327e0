"""How are many seeds run: on all cores, counted, until the first that fails if wanted?"""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .agenda import SECOND
from .draw import draw
from .plan import Kind
from .shrink import rules_of, shrink
from .story import tell
from .world import simulate

SEEDS_PER_TASK = 10
HOUR_NS = 3_600 * SECOND
FAILURES_KEPT_MAX = 20


@dataclass(slots=True)
class Tally:
    """What a number of runs came to; `failed` maps seeds to what they broke."""

    seeds: int = 0
    events: int = 0
    struck: Counter[Kind] = field(default_factory=Counter)
    failed: dict[int, list[str]] = field(default_factory=dict)
    virtual_ns: int = 0

    def add(self, other: Tally) -> None:
        self.seeds += other.seeds
        self.events += other.events
        self.struck += other.struck
        self.virtual_ns += other.virtual_ns
        for seed, found in other.failed.items():
            if len(self.failed) < FAILURES_KEPT_MAX:
                self.failed[seed] = found

    def __str__(self) -> str:
        seeds = max(self.seeds, 1)
        faults = sum(self.struck.values())
        lines = [
            f"{self.seeds:,} schedules, {self.virtual_ns / HOUR_NS:,.1f} hours of virtual time: "
            f"{len(self.failed)} failed",
            f"{self.events / seeds:,.0f} events and {faults / seeds:.1f} faults each; "
            f"faults that struck:",
        ]
        lines += [f"  {self.struck[kind]:7,}  {kind.value}" for kind in Kind]
        return "\n".join(lines)


def run_seeds(seeds: range) -> Tally:
    """Run some seeds in this process."""
    tally = Tally()
    for seed in seeds:
        outcome = simulate(draw(seed))
        tally.seeds += 1
        tally.events += outcome.events
        tally.struck += outcome.struck
        tally.virtual_ns += outcome.virtual_ns
        if outcome.violations:
            tally.failed[seed] = outcome.violations
    return tally


def run_campaign(
    seeds: range, processes: int, on_progress: Callable[[Tally], None] = lambda _: None
) -> Tally:
    """Run seeds on so many processes; the tally does not depend on their number."""
    tally = Tally()
    for part in _parts(seeds, processes):
        tally.add(part)
        on_progress(tally)
    tally.failed = dict(sorted(tally.failed.items()))
    return tally


def _parts(seeds: range, processes: int) -> Iterator[Tally]:
    parts = [seeds[at : at + SEEDS_PER_TASK] for at in range(0, len(seeds), SEEDS_PER_TASK)]
    if processes == 1:
        yield from map(run_seeds, parts)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(run_seeds, parts)


def explain(seed: int) -> str:
    """Find the smallest plan of a failing seed and tell its story."""
    plan = draw(seed)
    broken = rules_of(simulate(plan).violations)
    if not broken:
        return f"seed {seed} breaks nothing:\n{plan}"
    smallest = shrink(plan, lambda smaller: bool(broken & rules_of(simulate(smaller).violations)))
    return tell(smallest, simulate(smallest, keep_trace=True))
