"""How well are cards filled: the scheduler's core beside habits, and a bound that nobody beats.

`pack.py` runs one seed of each workload of the two smaller fleets, `pack.py --all` all of them
(hours: the core decides for tens of thousands of tasks, each of a size of its own).
"""

from __future__ import annotations

import sys

from packing import fleet_core, rivals, workloads
from packing.bound import makespan_bound_s
from packing.cards import Outcomes

from remuda.scheduler.core import CoreSettings

SMALL = ("eight big cards", "a lab")


def main() -> None:
    """Print makespans as multiples of the bound, VRAM that nobody had, and tasks out of memory."""
    everything = "--all" in sys.argv
    fleets = tuple(workloads.FLEETS) if everything else SMALL
    seeds = workloads.SEEDS if everything else workloads.SEEDS[:1]
    print("| workload | tasks | who | makespan / bound | stranded VRAM | out of memory |")
    print("|---|---:|---|---:|---:|---:|")
    for fleet in fleets:
        for mix in workloads.MIXES:
            for seed in seeds:
                _compare(workloads.make(fleet, mix, seed))


def _compare(workload: workloads.Workload) -> None:
    bound_s = makespan_bound_s(workload)
    settings = fleet_core.patient(CoreSettings())
    _row(workload, "remuda", fleet_core.run(workload, settings), bound_s)
    for name, choose in rivals.RIVALS.items():
        _row(workload, name, rivals.run(workload, choose), bound_s)


def _row(workload: workloads.Workload, who: str, found: Outcomes, bound_s: float) -> None:
    print(
        f"| {workload.name} | {len(workload.tasks):,} | {who} | {found.makespan_s / bound_s:.3f}"
        f" | {found.stranded:.1%} | {found.ooms:,} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
