"""How much memory the scheduler takes with 100,000 queued tasks of 400-byte specs, each its own."""

from __future__ import annotations

import os
import time

from bench_cluster import running_cluster, scheduler_of

from remuda import Client
from remuda.protocol.codec import pack_document
from remuda.protocol.messages import Submit, Submitted
from remuda.protocol.spec import TaskSpec, to_document

TASKS = 100_000
FRAME = 1_000
SPEC_BYTES = 400
MIB = 1 << 20


def main() -> dict[str, float]:
    """Return resident memory in MiB before, with the queue, and after a restart with it."""
    with running_cluster() as home, Client(home=home) as client:
        before = scheduler_of(home).memory_info().rss / MIB
        for first in range(0, TASKS, FRAME):
            specs = [_spec(first + index) for index in range(FRAME)]
            key = time.time_ns().to_bytes(8, "big") + os.urandom(8)
            client.link.request(
                Submit(key, b"", specs, list(range(FRAME)), [b""] * FRAME, allow_infeasible=True),
                Submitted,
            )
        queued = scheduler_of(home).memory_info().rss / MIB
        scheduler_of(home).kill()
        start = time.perf_counter()
        while client.status()["counts"]["queued"] != TASKS:
            time.sleep(0.05)
        restart_s = time.perf_counter() - start
        restarted = scheduler_of(home).memory_info().rss / MIB
    return {
        "before_mib": before,
        "queued_mib": queued,
        "restarted_mib": restarted,
        "restart_s": restart_s,
    }


def _spec(number: int) -> dict[str, object]:
    """Make a spec document of `SPEC_BYTES` that no other task shares."""
    spec = TaskSpec(kind="command", argv=[f"{number:08d}"], labels={"never": "here"})
    document = to_document(spec)
    filling = "x" * (SPEC_BYTES - len(pack_document(document)) - 3)
    return {**document, "argv": [f"{number:08d}", filling]}


if __name__ == "__main__":
    print(main())
