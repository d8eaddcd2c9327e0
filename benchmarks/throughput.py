"""How many no-op Python tasks per second go through: batches in, two workers, results back."""

from __future__ import annotations

import os
import time

from bench_cluster import running_cluster

from remuda import Client

TASKS = 20_000
COMMANDS = 1_000


def main() -> dict[str, float]:
    """Return tasks per second of functions (by `map`) and of commands, one process each."""
    with running_cluster() as home, Client(home=home) as client:
        list(client.map("noop_task:noop", range(2_000)).results(timeout=60))
        start = time.perf_counter()
        values = list(client.map("noop_task:noop", range(TASKS)).results(timeout=120))
        calls_s = TASKS / (time.perf_counter() - start)
        assert values == list(range(TASKS))
        start = time.perf_counter()
        batch = client.submit_array(["true"], range(COMMANDS))
        for done in batch.results(timeout=120):
            assert done.returncode == 0
        commands_s = COMMANDS / (time.perf_counter() - start)
    return {
        "calls_per_s": calls_s,
        "commands_per_s": commands_s,
        "cpus": float(os.cpu_count() or 0),
    }


if __name__ == "__main__":
    print(main())
