"""What does max_batch gain a handler that pays for each run, and what does max_wait cost?

The handler of a small real cluster stands for a model: each run of it takes 20 ms and 1 ms more for
each of its calls. Measured are calls per second with many callers at once, and how long a call
takes there and back while only one is asked at a time. Run it: `.venv/bin/python
benchmarks/batching.py`.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from bench_cluster import percentile

from remuda import Client, LocalCluster

RUN_S, CALL_S = 0.020, 0.001
CALLS = 640
LIGHT_CALLS, LIGHT_EVERY_S = 100, 0.030
MAX_WAIT_MS = 10
CODE = f"""
import time

class Single:
    def __call__(self, value):
        time.sleep({RUN_S} + {CALL_S})
        return value

class Batched:
    def __call__(self, values):
        time.sleep({RUN_S} + {CALL_S} * len(values))
        return values
"""
SETTINGS = """
[node]
python_path = ["{folder}"]

[handlers.one]
target = "bench_handlers:Single"

[handlers.now]
target = "bench_handlers:Batched"
max_batch = 16

[handlers.waits]
target = "bench_handlers:Batched"
max_batch = 16
max_wait = "{wait_ms}ms"
"""


def main() -> dict[str, float]:
    """Return calls per second with and without batches, and milliseconds of single calls."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="remuda-bench-") as folder:
        Path(folder, "bench_handlers.py").write_text(CODE)
        home = Path(folder, "home")
        home.mkdir(mode=0o700)
        settings = SETTINGS.format(folder=folder, wait_ms=MAX_WAIT_MS)
        (home / "remuda.toml").write_text(settings)
        with LocalCluster(1, home=home) as local, local.client() as client:
            for handler in ("one", "now", "waits"):
                client.submit(handler, 0).result(60)
                found[f"{handler}_per_s"] = _throughput(client, handler)
                taken = [_once(client, handler) for _ in range(LIGHT_CALLS)]
                found[f"{handler}_p50_ms"] = percentile(taken, 0.5)
                found[f"{handler}_p99_ms"] = percentile(taken, 0.99)
    return found


def _throughput(client: Client, handler: str) -> float:
    begun = time.perf_counter()
    results = list(client.map(handler, range(CALLS)).results())
    assert results == list(range(CALLS))
    return CALLS / (time.perf_counter() - begun)


def _once(client: Client, handler: str) -> float:
    time.sleep(LIGHT_EVERY_S)
    begun = time.perf_counter()
    client.submit(handler, 1).result(60)
    return (time.perf_counter() - begun) * 1_000


def report(found: dict[str, float]) -> str:
    """Write what was measured as a table."""
    rows = [
        ("one call at a time", "one"),
        ("max_batch = 16", "now"),
        (f"max_batch = 16, max_wait = {MAX_WAIT_MS} ms", "waits"),
    ]
    lines = [f"{'handler':36}  calls/s   alone: p50 ms  p99 ms"]
    lines += [
        f"{words:36} {found[name + '_per_s']:8.0f} "
        f"{found[name + '_p50_ms']:15.1f} {found[name + '_p99_ms']:7.1f}"
        for words, name in rows
    ]
    gain = found["waits_per_s"] / found["one_per_s"]
    ideal = 16 * (RUN_S + CALL_S) / (RUN_S + 16 * CALL_S)
    lines.append(f"{gain:.1f} times as many in batches; no overhead at all would be {ideal:.1f}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(report(main()))
    sys.exit(os.EX_OK)
