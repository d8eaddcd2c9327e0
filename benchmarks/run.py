"""All figures of the README, measured on this machine in one run: `make bench`."""

from __future__ import annotations

import os
import platform
import sys

import fleet
import latency
import lifecycle
import memory
import peers
import store
import throughput

GOALS = (
    # figure, key, unit, goal, whether the goal is a ceiling
    ("submission, durably acknowledged, p50", "submit_p50_ms", "ms", 2.0, True),
    ("submission, durably acknowledged, p99", "submit_p99_ms", "ms", 5.0, True),
    ("the disk alone: 32 KiB written and synced, p50", "disk_p50_ms", "ms", None, True),
    ("the disk alone: 32 KiB written and synced, p99", "disk_p99_ms", "ms", None, True),
    ("status query with 10,000 queued, p99", "status_p99_ms", "ms", 5.0, True),
    ("no-op Python tasks, end to end", "calls_per_s", "/s", 5_000.0, False),
    ("commands (`true`), end to end", "commands_per_s", "/s", None, False),
    ("scheduler with 100,000 queued tasks", "queued_mib", "MiB", 150.0, True),
    ("the same after kill -9 and restart", "restarted_mib", "MiB", 150.0, True),
    ("from kill -9 to accepting, 100,000 queued and 100 running", "accepting_s", "s", 3.0, True),
    ("running tasks lost or restarted by that", "disturbed", "", 0.0, True),
    ("1,000 agents back after kill -9 of the scheduler", "back_s", "s", 30.0, True),
    ("agents declared lost by that", "nodes_lost", "", 0.0, True),
    ("attempts stopped or moved by that", "attempts_disturbed", "", 0.0, True),
    ("node death: its tasks run elsewhere, beyond lost_after", "death_s", "s", 2.0, True),
    ("`node lost`: its tasks run elsewhere", "declared_s", "s", 2.0, True),
    ("tasks restarted by a partition shorter than lost_after", "partition_restarts", "", 0.0, True),
    ("1 GiB to the store, durably", "store_put", "MiB/s", None, False),
    ("1 GiB from the store, verified", "store_get", "MiB/s", None, False),
    ("bare CURVE sockets with the same chunks", "store_curve", "MiB/s", None, False),
    ("the disk alone: 1 GiB written and synced", "store_disk_write", "MiB/s", None, False),
    ("1 GiB to the store, share of what its hops allow", "store_put_ratio", "%", 70.0, False),
    ("1 GiB from the store, share of what its hops allow", "store_get_ratio", "%", 70.0, False),
    ("files of 100 KiB to the store, hashed and synced", "store_files_put", "/s", 500.0, False),
    ("the same files again: nothing is sent", "store_files_again", "/s", None, False),
    ("the store's memory, 64 clients at once", "store_mib", "MiB", 100.0, True),
    ("cancel of a tree that ignores TERM: gone, beyond grace", "cancel_s", "s", 1.0, True),
)


def main() -> int:
    """Measure, print a table and the peers with ratios; exit 1 when a goal is missed."""
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    print("CURVE on, synchronous=FULL, 2 nodes\n")
    measured: dict[str, float] = {}
    for part in (latency, throughput, memory, lifecycle, fleet, store):
        print(f"measuring {part.__name__} ...", file=sys.stderr)
        measured.update(part.main())
    print("| figure | measured | goal |\n|---|---:|---:|")
    missed = 0
    for figure, key, unit, goal, ceiling in GOALS:
        value = measured[key]
        wanted = "" if goal is None else f"{'<=' if ceiling else '>='} {goal:,.0f} {unit}"
        mark = ""
        if goal is not None and (value > goal if ceiling else value < goal):
            missed += 1
            mark = " missed"
        print(f"| {figure} | {value:,.{0 if value >= 100 else 1}f} {unit}{mark} | {wanted} |")
    print("\nmeasuring peers ...", file=sys.stderr)
    ours = measured["calls_per_s"]
    print("\n| no-op tasks per second, 2 workers | measured | remuda is |\n|---|---:|---:|")
    print(f"| remuda (durable, authenticated) | {ours:,.0f} | |")
    for name, theirs in peers.main().items():
        if theirs is None:
            print(f"| {name} | not installed (`pip install distributed`) | |")
        else:
            print(f"| {name} | {theirs:,.0f} | {ours / theirs:.2f} x |")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
