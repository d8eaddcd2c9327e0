"""How well are cards filled: the scheduler's core beside habits, and a bound that nobody beats.

The core knows from earlier runs about how long each kind of task takes, to a factor of 1.4; the
line `run times unknown` is the same without that.

`pack.py` runs one seed of each workload of the two smaller fleets, `pack.py --all` all of them
(hours: the core decides for tens of thousands of tasks, each of a size of its own). With
`--plot FILE.png` it draws what it printed.
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

if not importlib.util.find_spec("scipy"):
    raise SystemExit("pack.py: needs scipy for the bound: bin/setup-venv dev,demo,bench")

from packing import fleet_core, rivals, workloads
from packing.bound import makespan_bound_s
from packing.cards import Outcomes

from remuda.scheduler.core import CoreSettings

SMALL = ("eight big cards", "a lab")


def main() -> None:
    """Print makespans as multiples of the bound, VRAM that nobody had, and tries out of memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="every fleet and every seed")
    parser.add_argument("--fleet", choices=workloads.FLEETS, help="this fleet alone")
    parser.add_argument("--mix", choices=workloads.MIXES, help="this mix of tasks alone")
    parser.add_argument(
        "--seed", type=int, choices=workloads.SEEDS, action="append", help="this seed, or these"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw it as well")
    said = parser.parse_args()
    fleets = tuple(workloads.FLEETS) if said.all else SMALL
    fleets = (said.fleet,) if said.fleet else fleets
    mixes = (said.mix,) if said.mix else tuple(workloads.MIXES)
    seeds = said.seed or (workloads.SEEDS if said.all else workloads.SEEDS[:1])
    print("| workload | tasks | who | makespan / bound | stranded VRAM | out of memory |")
    print("|---|---:|---|---:|---:|---:|")
    measured = {}
    for fleet in fleets:
        for mix in mixes:
            for seed in seeds:
                workload = workloads.make(fleet, mix, seed)
                measured[workload.name] = _compare(workload)
    if said.plot:
        from packing import plot

        plot.draw(measured, said.plot)


def _compare(workload: workloads.Workload) -> dict[str, tuple[Outcomes, float]]:
    """Run a workload under each; return by who how it went, and its multiple of the bound."""
    bound_s = makespan_bound_s(workload)
    settings = fleet_core.patient(CoreSettings())
    found = {
        "remuda": fleet_core.run(workload, settings, kinds_known=True),
        "run times unknown": fleet_core.run(workload, settings),
    }
    found |= {name: rivals.run(workload, choose) for name, choose in rivals.RIVALS.items()}
    measured = {who: (each, each.makespan_s / bound_s) for who, each in found.items()}
    for who, (each, ratio) in measured.items():
        print(
            f"| {workload.name} | {len(workload.tasks):,} | {who} | {ratio:.3f}"
            f" | {each.stranded:.1%} | {each.ooms:,} |",
            flush=True,
        )
    return measured


if __name__ == "__main__":
    main()
