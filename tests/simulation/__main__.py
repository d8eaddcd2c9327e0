"""Run the simulation from the command line: python -m tests.simulation --seeds 2000."""

from __future__ import annotations

import argparse
import os
import sys
import time

from .campaign import Tally, explain, run_campaign
from .plan import Kind

EVENTS_MIN = 300
FAULTS_MIN = 3
EACH_KIND_MIN = 50
JUDGED_FROM_SEEDS = 2_000
"""So many schedules must also show that they are hard enough."""


def main() -> int:
    """Run, print what was run, and tell the story of the first failure; 1 when one failed."""
    options = _options()
    if options.replay is not None:
        print(explain(options.replay))
        return 0
    began = time.monotonic()
    seeds = range(options.first, options.first + options.seeds)
    tally = run_campaign(seeds, options.processes, _progress(len(seeds), began))
    print(f"{tally}\nseeds {seeds[0]} to {seeds[-1]} in {time.monotonic() - began:.0f} s")
    for seed, found in tally.failed.items():
        print(f"FAILED seed {seed}: {found[0]}\n  replay: make sim REPLAY={seed}")
    if tally.failed:
        print(explain(next(iter(tally.failed))))
        return 1
    weak = weaknesses(tally)
    for text in weak:
        print(f"TOO EASY: {text}")
    return int(bool(weak))


def weaknesses(tally: Tally) -> list[str]:
    """Say where a large run was not as hard as it is meant to be."""
    if tally.seeds < JUDGED_FROM_SEEDS:
        return []
    found = [
        f"{tally.struck[kind]} times {kind.value}, at least {EACH_KIND_MIN} are wanted"
        for kind in Kind
        if tally.struck[kind] < EACH_KIND_MIN
    ]
    if tally.events < EVENTS_MIN * tally.seeds:
        found.append(f"{tally.events / tally.seeds:.0f} events a schedule, not {EVENTS_MIN}")
    if sum(tally.struck.values()) < FAULTS_MIN * tally.seeds:
        found.append(f"fewer than {FAULTS_MIN} faults a schedule")
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2_000, help="how many schedules")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--replay", type=int, help="shrink this seed and tell its story")
    return parser.parse_args()


def _progress(total: int, began: float):  # type: ignore[no-untyped-def]  # prints
    def show(tally: Tally) -> None:
        if sys.stderr.isatty():
            took_s = time.monotonic() - began
            left_s = took_s / max(tally.seeds, 1) * (total - tally.seeds)
            bar = "#" * (40 * tally.seeds // total)
            text = f"\r[{bar:40}] {tally.seeds:,} of {total:,}, {left_s:.0f} s left "
            sys.stderr.write(text + ("\n" if tally.seeds == total else ""))

    return show


if __name__ == "__main__":
    sys.exit(main())
