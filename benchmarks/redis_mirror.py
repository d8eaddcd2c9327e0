"""What the Redis mirror costs a submission: without one, with one, and with a frozen server.

Three schedulers run side by side and are asked in turn, a burst each in an order of chance, so that
whatever else the machine does hits all of them alike; a rest after each burst keeps what one of
them still does out of the next one's figures. Needs a `redis-server`.
"""

from __future__ import annotations

import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench_cluster import percentile, running_cluster
from latency import hold, timed

from remuda import Client
from remuda.client.connection import Connection

BURSTS = 200
BURST = 25
REST_S = 0.02
WARM_UP = 4
WAIT_S = 30.0
KINDS = ("without", "with", "frozen")


def main(bursts: int = BURSTS) -> dict[str, float]:
    """Return p50 and p99 of a submission in milliseconds, and both as ratios to no mirror."""
    taken: dict[str, list[float]] = {kind: [] for kind in KINDS}
    chance = random.Random(1)
    with ExitStack() as stack:
        links = {"without": stack.enter_context(_scheduler(""))}
        for kind in KINDS[1:]:
            url, server = stack.enter_context(_redis())
            links[kind] = stack.enter_context(_scheduler(url))
            _wait_state(links[kind], "ok")
            if kind == "frozen":
                server.send_signal(signal.SIGSTOP)
                stack.callback(server.send_signal, signal.SIGCONT)
        for burst in range(WARM_UP + bursts):
            for kind in chance.sample(KINDS, len(KINDS)):
                found = timed(BURST, lambda link=links[kind]: hold(link, 1))
                taken[kind] += found if burst >= WARM_UP else []
                time.sleep(REST_S)
        _wait_state(links["frozen"], "down")
        _wait_state(links["with"], "ok")
    figures = {
        f"{kind}_p{share:.0%}".rstrip("%") + "_ms": percentile(samples, share)
        for kind, samples in taken.items()
        for share in (0.5, 0.99)
    }
    for kind in KINDS[1:]:
        for share in ("50", "99"):
            ratio = figures[f"{kind}_p{share}_ms"] / figures[f"without_p{share}_ms"]
            figures[f"{kind}_p{share}_ratio"] = ratio
    return figures


@contextmanager
def _scheduler(url: str) -> Iterator[Connection]:
    with running_cluster(nodes=1, redis=url) as home, Client(home=home) as client:
        yield client.link


@contextmanager
def _redis() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    if shutil.which("redis-server") is None:
        sys.exit("redis-server is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(
        ["redis-server", "--port", str(port), "--save", "", "--appendonly", "no"],
        stdout=subprocess.DEVNULL,
        cwd=Path("/tmp"),
    )
    try:
        yield f"redis://127.0.0.1:{port}/0", server
    finally:
        server.kill()
        server.wait()


def _wait_state(link: Connection, state: str) -> None:
    from remuda.client import control

    ends = time.monotonic() + WAIT_S
    while (found := control.status(link)["redis"]["state"]) != state:
        if time.monotonic() > ends:
            sys.exit(f"the mirror is {found}, not {state}")
        time.sleep(0.05)


if __name__ == "__main__":
    for figure, value in main(*map(int, sys.argv[1:2])).items():
        print(f"{figure:18} {value:8.3f}")
