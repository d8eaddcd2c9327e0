"""The same no-op tasks on peers, on this machine, in this run: two worker processes each.

They promise other things: none of these commits a submission or a result to disk, authenticates
its peers, or survives the loss of its coordinator. The ratio says what those promises cost.
"""

from __future__ import annotations

import importlib.util
import logging
import time
from concurrent.futures import ProcessPoolExecutor

TASKS = 10_000
WORKERS = 2


def noop(x: int) -> int:
    return x


def process_pool() -> float:
    """Return tasks per second of the standard library's pool, one task per submission."""
    with ProcessPoolExecutor(WORKERS) as pool:
        list(pool.map(noop, range(200)))
        start = time.perf_counter()
        assert list(pool.map(noop, range(TASKS))) == list(range(TASKS))
        return TASKS / (time.perf_counter() - start)


def dask() -> float | None:
    """Return tasks per second of dask.distributed with two worker processes, if installed."""
    if importlib.util.find_spec("distributed") is None:
        return None
    import distributed

    with (
        distributed.LocalCluster(
            n_workers=WORKERS,
            threads_per_worker=1,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.gather(client.map(noop, range(200), pure=False))
        start = time.perf_counter()
        assert client.gather(client.map(noop, range(TASKS), pure=False)) == list(range(TASKS))
        return TASKS / (time.perf_counter() - start)


def main() -> dict[str, float | None]:
    return {"ProcessPoolExecutor": process_pool(), "dask.distributed": dask()}


if __name__ == "__main__":
    print(main())
