"""What does the scheduler take with 100,000 queued tasks and 100 running ones, also after kill -9?

Each queued task has a spec of its own of 400 bytes. Each running one writes a line when it
begins, so that one that was lost or began again shows.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from bench_cluster import running_cluster, scheduler_of

from remuda import Client
from remuda.protocol.codec import pack_document
from remuda.protocol.errors import Unreachable
from remuda.protocol.messages import Submit, Submitted
from remuda.protocol.spec import TaskSpec, to_document

TASKS = 100_000
RUNNING = 100
FRAME = 1_000
SPEC_BYTES = 400
SETTLE_S = 10.0
MIB = 1 << 20


def main() -> dict[str, float]:
    """Return resident memory in MiB, seconds from kill -9 to serving, and what was disturbed."""
    with running_cluster() as home, Client(home=home) as client:
        before = scheduler_of(home).memory_info().rss / MIB
        began = home / "began"
        argv = ["sh", "-c", 'echo began >> "$0"; exec sleep 600', str(began)]
        running = client.submit_array(argv, range(RUNNING), cpus=0.01)
        while not began.exists() or len(began.read_text().splitlines()) < RUNNING:
            time.sleep(0.1)
        for first in range(0, TASKS, FRAME):
            _submit(client, [_spec(first + index) for index in range(FRAME)])
        queued = scheduler_of(home).memory_info().rss / MIB
        scheduler_of(home).kill()
        start = time.perf_counter()
        _submit(client, [_spec(TASKS)])
        accepting_s = time.perf_counter() - start
        while client.status()["counts"]["queued"] != TASKS + 1:
            time.sleep(0.05)
        restart_s = time.perf_counter() - start
        restarted = scheduler_of(home).memory_info().rss / MIB
        disturbed = _disturbed(client, began)
        running.cancel(grace_s=0)
    return {
        "before_mib": before,
        "queued_mib": queued,
        "restarted_mib": restarted,
        "accepting_s": accepting_s,
        "restart_s": restart_s,
        "disturbed": disturbed,
    }


def _submit(client: Client, specs: list[dict[str, object]]) -> None:
    """Submit tasks of which each has its own spec, again and again until that is acknowledged."""
    key = time.time_ns().to_bytes(8, "big") + os.urandom(8)
    count = len(specs)
    submit = Submit(key, b"", specs, list(range(count)), [b""] * count, allow_infeasible=True)
    while True:
        try:
            client.link.request(submit, Submitted)
        except Unreachable:
            continue
        return


def _disturbed(client: Client, began: Path) -> float:
    """Count running tasks that do not run any more, or began again, some time after a restart."""
    time.sleep(SETTLE_S)
    left = client.status()["counts"].get("running", 0)
    return float(abs(RUNNING - left) + abs(len(began.read_text().splitlines()) - RUNNING))


def _spec(number: int) -> dict[str, object]:
    """Make a spec document of `SPEC_BYTES` that no other task shares."""
    spec = TaskSpec(kind="command", argv=[f"{number:08d}"], labels={"never": "here"})
    document = to_document(spec)
    filling = "x" * (SPEC_BYTES - len(pack_document(document)) - 3)
    return {**document, "argv": [f"{number:08d}", filling]}


if __name__ == "__main__":
    print(main())
