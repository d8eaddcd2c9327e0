"""How many no-op calls, and how many commands, one runner does in a second; prints figures."""

from __future__ import annotations

import argparse
import os
import secrets
import select
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from remuda.node import link, runtime
from remuda.worker import frames, values

CODE = "def noop(x):\n    return x\n"
WINDOW_BATCHES = 4
ENV = {"PATH": os.environ["PATH"]}


def main() -> None:
    """Measure batches of several sizes, latency of one call, and /bin/true."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--calls", type=int, default=40_000)
    options.add_argument("--workers", type=int, default=1)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "bench_code.py").write_text(CODE)
        links = [attach(root) for _ in range(chosen.workers)]
        for runner in links:
            host = frames.Host("bench", sys.executable, ENV, sys_path=[str(root)])
            runner.send(host)
            wait(runner, frames.Loaded)
        for batch in (1, 16, 64, 256):
            number = chosen.calls if batch > 1 else chosen.calls // 10
            measure_calls(links, 1000, batch)
            rate = measure_calls(links, number, batch)
            print(f"calls/s, batches of {batch:3}, {len(links)} worker(s): {rate:10,.0f}")
        p50_us, p99_us = measure_latency(links[0], 2000)
        print(f"one call there and back: p50 {p50_us:.0f} us, p99 {p99_us:.0f} us")
        print(f"/bin/true per second, one runner: {measure_commands(root, 500):,.0f}")
        for runner in links:
            runner.send(frames.Exit(grace_s=1.0))
            while link.is_alive(runner.directory):
                time.sleep(0.01)


def attach(root: Path) -> link.Link:
    """Start a runner and connect to it."""
    directory = link.spawn(root / "runners", runtime.install(root / "runtime"))
    while True:
        try:
            found = link.Link.attach(directory)
            break
        except link.LinkNotReady:
            time.sleep(0.002)
    wait(found, frames.Hello)
    return found


def messages(runner: link.Link) -> Iterator[frames.Message]:
    """Yield what arrives, waiting for it."""
    while not runner.closed:
        select.select([runner], [runner] if runner.want_write else [], [])
        runner.on_writable()
        yield from runner.on_readable()


def wait(runner: link.Link, kind: type) -> frames.Message:
    """Return the next message of a kind."""
    return next(message for message in messages(runner) if isinstance(message, kind))


def batch_of(size: int) -> frames.Calls:
    """Make a batch of no-op calls, encoding included."""
    target = "bench_code:noop"
    return frames.Calls(
        0,
        [
            frames.Call(secrets.token_bytes(16), 1, target, values.encode_call((5,), {}))
            for _ in range(size)
        ],
    )


def measure_calls(links: list[link.Link], number: int, size: int) -> float:
    """Return calls per second, arguments encoded and results decoded here."""
    begun = time.monotonic()
    sent = dict.fromkeys(links, 0)
    answered = dict.fromkeys(links, 0)
    share = number // len(links)
    while min(answered.values()) < share:
        for runner in links:
            while sent[runner] < share and sent[runner] - answered[runner] < WINDOW_BATCHES * size:
                runner.send(batch_of(size))
                sent[runner] += size
        for runner in select.select(links, [], [])[0]:
            done = [m for m in runner.on_readable() if isinstance(m, frames.Results)]
            for results in done:
                for outcome in results.outcomes:
                    values.decode(outcome.body)
                answered[runner] += len(results.outcomes)
            if done:
                runner.send(frames.Ack([results.record for results in done]))
    return share * len(links) / (time.monotonic() - begun)


def measure_latency(runner: link.Link, number: int) -> tuple[float, float]:
    """Return median and 99th percentile of one call there and back, in microseconds."""
    taken = []
    for _ in range(number):
        begun = time.monotonic()
        runner.send(batch_of(1))
        results = wait(runner, frames.Results)
        taken.append((time.monotonic() - begun) * 1e6)
        assert isinstance(results, frames.Results)
        runner.send(frames.Ack([results.record]))
    taken.sort()
    return taken[number // 2], taken[number * 99 // 100]


@contextmanager
def fresh(root: Path) -> Iterator[link.Link]:
    """Lend a runner for commands."""
    runner = attach(root)
    yield runner
    runner.send(frames.Exit())
    while link.is_alive(runner.directory):
        time.sleep(0.01)


def measure_commands(root: Path, number: int) -> float:
    """Return how many commands run one after the other in a second."""
    with fresh(root) as runner:
        begun = time.monotonic()
        for _ in range(number):
            task = secrets.token_bytes(16)
            runner.send(frames.Run(task, 1, ["/bin/true"], ENV))
            wait(runner, frames.Finished)
            runner.send(frames.Ack([], [[task.hex(), 1]]))
        return number / (time.monotonic() - begun)


if __name__ == "__main__":
    main()
