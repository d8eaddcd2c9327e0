"""How long one durable submission takes, and a status query while 10,000 tasks are queued."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from bench_cluster import percentile, running_cluster

from remuda import Client
from remuda.client.connection import Connection
from remuda.protocol.messages import Document, Status, Submit, Submitted
from remuda.protocol.spec import TaskSpec, to_document

SAMPLES = 1_000
QUEUED = 10_000
COMMIT_BYTES = 32 * 1024  # what one submission adds to the write-ahead log
FRAME = 1_000


def main() -> dict[str, float]:
    """Return p50 and p99 in milliseconds of both."""
    with running_cluster() as home, Client(home=home) as client:
        link = client.link
        hold(link, 1)
        submit = timed(SAMPLES, lambda: hold(link, 1))
        disk = _disk(home)
        for _ in range(QUEUED // FRAME):
            hold(link, FRAME)
        status = timed(SAMPLES, lambda: link.request(Status(), Document))
    return {
        "submit_p50_ms": percentile(submit, 0.5),
        "submit_p99_ms": percentile(submit, 0.99),
        "disk_p50_ms": percentile(disk, 0.5),
        "disk_p99_ms": percentile(disk, 0.99),
        "status_p50_ms": percentile(status, 0.5),
        "status_p99_ms": percentile(status, 0.99),
    }


def hold(link: Connection, count: int) -> None:
    """Submit tasks that no node can run yet, so that they stay queued."""
    spec = TaskSpec(kind="command", argv=["true"], labels={"never": "here"})
    key = time.time_ns().to_bytes(8, "big") + os.urandom(8)
    link.request(
        Submit(key, b"", [to_document(spec)], [0] * count, [b""] * count, allow_infeasible=True),
        Submitted,
    )


def _disk(home: Path) -> list[float]:
    """Time what no durable submission can do without: as many bytes, synced to the same disk."""
    filling = b"x" * COMMIT_BYTES
    with (home / "disk").open("wb", buffering=0) as file:

        def once() -> None:
            file.write(filling)
            os.fdatasync(file.fileno())

        return timed(SAMPLES, once)


def timed(samples: int, once: Callable[[], object]) -> list[float]:
    taken = []
    for _ in range(samples):
        start = time.perf_counter()
        once()
        taken.append((time.perf_counter() - start) * 1_000)
    return taken


if __name__ == "__main__":
    print(main())
