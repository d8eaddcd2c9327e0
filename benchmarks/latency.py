"""How long one durable submission takes, and a status query while 10,000 tasks are queued."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from bench_cluster import percentile, running_cluster

from remuda import Client
from remuda.client.connection import Connection
from remuda.protocol.messages import Document, Status, Submit, Submitted
from remuda.protocol.spec import TaskSpec, to_document

SAMPLES = 1_000
QUEUED = 10_000
FRAME = 1_000


def main() -> dict[str, float]:
    """Return p50 and p99 in milliseconds of both."""
    with running_cluster() as home, Client(home=home) as client:
        link = client.link
        _hold(link, 1)
        submit = _time(SAMPLES, lambda: _hold(link, 1))
        for _ in range(QUEUED // FRAME):
            _hold(link, FRAME)
        status = _time(SAMPLES, lambda: link.request(Status(), Document))
    return {
        "submit_p50_ms": percentile(submit, 0.5),
        "submit_p99_ms": percentile(submit, 0.99),
        "status_p50_ms": percentile(status, 0.5),
        "status_p99_ms": percentile(status, 0.99),
    }


def _hold(link: Connection, count: int) -> None:
    """Submit tasks that no node can run yet, so that they stay queued."""
    spec = TaskSpec(kind="command", argv=["true"], labels={"never": "here"})
    key = time.time_ns().to_bytes(8, "big") + os.urandom(8)
    link.request(
        Submit(key, b"", [to_document(spec)], [0] * count, [b""] * count, allow_infeasible=True),
        Submitted,
    )


def _time(samples: int, once: Callable[[], object]) -> list[float]:
    taken = []
    for _ in range(samples):
        start = time.perf_counter()
        once()
        taken.append((time.perf_counter() - start) * 1_000)
    return taken


if __name__ == "__main__":
    print(main())
