"""Which process pays how much for one no-op call: CPU time by kind of process, in microseconds."""

from __future__ import annotations

import time

import psutil
from bench_cluster import running_cluster

from remuda import Client

CALLS = 60_000
KINDS = ("remuda.scheduler", "remuda.store", "remuda.node", "runner.py", "worker.py")


def main() -> dict[str, float]:
    """Return calls per second, and what each kind of process and this client took for a call."""
    with running_cluster() as home, Client(home=home) as client:
        list(client.map("noop_task:noop", range(2_000)).results(timeout=60))
        before, start = _taken_s(str(home)), time.perf_counter()
        list(client.map("noop_task:noop", range(CALLS)).results(timeout=120))
        calls_s = CALLS / (time.perf_counter() - start)
        after = _taken_s(str(home))
    spent = {kind: (after[kind] - before.get(kind, 0)) / CALLS * 1e6 for kind in after}
    return {"calls_per_s": calls_s, **spent}


def _taken_s(home: str) -> dict[str, float]:
    own = psutil.Process().cpu_times()
    found = {"client": own.user + own.system}
    for process in psutil.process_iter(["cmdline", "cpu_times"]):
        words = " ".join(process.info["cmdline"] or [])
        kind = next((kind for kind in KINDS if kind in words and home in words), "")
        if kind and process.info["cpu_times"]:
            times = process.info["cpu_times"]
            found[kind] = found.get(kind, 0) + times.user + times.system
    return found


if __name__ == "__main__":
    for key, value in main().items():
        print(f"{key:18} {value:,.1f}")
