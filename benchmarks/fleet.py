"""How long until 1,000 agents are back after the scheduler was killed, and is any of them lost?

Every agent has a key pair and CURVE sockets of its own, the session and the core of a real one;
a few processes turn them. They hold attempts, which must neither move nor be stopped.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import structlog
from tests.fakes.light_agents import LightFleet
from tests.fakes.raw import RawClient, RawScheduler

from remuda.cli.ports import free_control_port
from remuda.config.home import Home
from remuda.config.keys import Identity
from remuda.protocol import messages as m

AGENTS = 1_000
PROCESSES = 4
ATTEMPTS_PER_AGENT = 2
ROLES = {"alice": "submit", "root": "admin"}
WAIT_S = 180.0
SETTLE_S = 8.0  # who stays silent is noticed after 6 s
TICK_S = 0.2  # 1,000 agents share the machine with the scheduler under test
NEVER: dict[str, Any] = {
    "specs": [{"kind": "command", "argv": ["true"], "labels": {"never": "here"}}],
    "allow_infeasible": True,
}


def main(agents: int = AGENTS, processes: int = PROCESSES) -> dict[str, float]:
    """Return seconds from kill -9 to the first submission and to the last agent; what was lost."""
    names = [f"n{number:04d}" for number in range(agents)]
    roles = ROLES | dict.fromkeys(names, "node")
    with tempfile.TemporaryDirectory(prefix="remuda-bench-") as folder:
        port = free_control_port("127.0.0.1", agents, random.Random())
        scheduler = RawScheduler(Path(folder), roles=roles, port=port)
        try:
            scheduler.start()
            shares = [names[index::processes] for index in range(processes)]
            with _fleet(scheduler, shares) as hosts:
                return _restart(scheduler, hosts, agents)
        finally:
            scheduler.close()


def _restart(scheduler: RawScheduler, hosts: list[_Host], agents: int) -> dict[str, float]:
    joined_s = _wait_inside(hosts, agents, scheduler.endpoints.epoch) - hosts[0].started
    attempts = agents * ATTEMPTS_PER_AGENT
    client = scheduler.client("alice")
    for _ in range(ATTEMPTS_PER_AGENT):
        client.submit(agents)
    _wait(lambda: _running(client) == attempts, "all attempts to run")
    killed = time.monotonic()
    scheduler.kill()
    scheduler.start()
    client = scheduler.client("alice")
    first = client.submit(**NEVER)
    accepting_s = time.monotonic() - killed
    assert isinstance(first, m.Submitted), first
    slowest_s, last = _submit_meanwhile(client, hosts, agents, scheduler.endpoints.epoch)
    time.sleep(SETTLE_S)
    seen = [host.ask() for host in hosts]
    log = scheduler.log()
    return {
        "agents": agents,
        "attempts": attempts,
        "joined_s": joined_s,
        "fleet_accepting_s": accepting_s,
        "back_s": last - killed,
        "slowest_submit_ms": slowest_s * 1_000,
        "nodes_lost": log.count("node lost"),
        "attempts_disturbed": sum(each["stopped"] for each in seen) + attempts - _running(client),
    }


def _submit_meanwhile(
    client: RawClient, hosts: list[_Host], agents: int, epoch: int
) -> tuple[float, float]:
    """Submit one task after another until all agents are back; return the slowest, and when."""
    slowest_s = 0.0

    def is_back() -> bool:
        nonlocal slowest_s
        start = time.monotonic()
        client.submit(**NEVER)
        slowest_s = max(slowest_s, time.monotonic() - start)
        return sum(host.ask(epoch)["inside"] for host in hosts) == agents

    _wait(is_back, "all agents to be back")
    return slowest_s, max(host.ask(epoch)["last"] for host in hosts)


def _running(client: RawClient) -> int:
    counts: dict[str, int] = client.ask(m.Status()).body["counts"]
    return counts.get("running", 0)


def _wait_inside(hosts: list[_Host], agents: int, epoch: int) -> float:
    _wait(lambda: sum(host.ask(epoch)["inside"] for host in hosts) == agents, "all agents")
    return max(host.ask(epoch)["last"] for host in hosts)


def _wait(look: Callable[[], bool], what: str) -> None:
    ends = time.monotonic() + WAIT_S
    while not look():
        if time.monotonic() > ends:
            raise TimeoutError(f"waited {WAIT_S:g} s for {what}")
        time.sleep(0.05)


class _Host:
    """A process that turns a share of the agents and tells how they stand."""

    def __init__(self, home: Home, identities: Sequence[Identity]) -> None:
        self.started = time.monotonic()
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(
            target=_turn_agents, args=(theirs, home.root, identities), daemon=True
        )
        self._process.start()

    def ask(self, epoch: int = 0) -> dict[str, Any]:
        """Return how many are in with an epoch and since when, and what became of attempts."""
        self._pipe.send(epoch)
        answer: dict[str, Any] = self._pipe.recv()
        return answer

    def close(self) -> None:
        self._process.kill()
        self._process.join()


def _turn_agents(pipe: Connection, root: Path, identities: Sequence[Identity]) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    quiet = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=quiet)  # a thousand agents would say so when they are in
    fleet = LightFleet(Home(root), identities, TICK_S)
    last: dict[int, tuple[int, float]] = {}
    epoch = 0
    while True:
        fleet.turn()
        inside = fleet.inside(epoch)
        if last.get(epoch, (0, 0.0))[0] < inside:
            last[epoch] = (inside, time.monotonic())
        while pipe.poll():
            epoch = pipe.recv()
            pipe.send({"inside": fleet.inside(epoch), "last": last.get(epoch, (0, 0.0))[1],
                       "held": fleet.held(), "stopped": fleet.stopped()})  # fmt: skip


@contextmanager
def _fleet(scheduler: RawScheduler, shares: list[list[str]]) -> Iterator[list[_Host]]:
    hosts = [_Host(scheduler.home, [scheduler.identity(name) for name in share])
             for share in shares]  # fmt: skip
    try:
        yield hosts
    finally:
        for host in hosts:
            host.close()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--agents", type=int, default=AGENTS)
    options.add_argument("--processes", type=int, default=PROCESSES)
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    measured = main(chosen.agents, chosen.processes)
    if chosen.json:
        print(json.dumps(measured))
    else:
        print("\n".join(f"{name:>20} {value:>10,.1f}" for name, value in measured.items()))
