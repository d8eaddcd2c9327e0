"""Does a whole fleet come back to a scheduler that was killed, with all that it runs?"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from remuda.cli.ports import free_control_port
from remuda.protocol import messages as m

from ..fakes.light_agents import LightFleet
from ..fakes.raw import RawScheduler

pytestmark = pytest.mark.cluster
AGENTS = 60
EACH = 2
WAIT_S = 120.0
NAMES = [f"n{number:02d}" for number in range(AGENTS)]


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[RawScheduler]:
    port = free_control_port("127.0.0.1", AGENTS, random.Random())
    roles = {"alice": "submit"} | dict.fromkeys(NAMES, "node")
    made = RawScheduler(tmp_path, roles=roles, port=port)
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture
def fleet(scheduler: RawScheduler) -> Iterator[LightFleet]:
    made = LightFleet(scheduler.home, [scheduler.identity(name) for name in NAMES])
    yield made
    made.close()


def turn_until(fleet: LightFleet, is_so: Callable[[], bool], what: str) -> None:
    ends = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < ends, f"waited {WAIT_S} s for {what}"
        fleet.turn()


def test_all_agents_come_back_after_kill_9_and_go_on_with_what_they_run(
    scheduler: RawScheduler, fleet: LightFleet
) -> None:
    first = scheduler.endpoints.epoch
    turn_until(fleet, lambda: fleet.inside(first) == AGENTS, "all agents to join")
    client = scheduler.client("alice")
    client.submit(AGENTS * EACH)
    running = {"running": AGENTS * EACH}
    turn_until(fleet, lambda: client.ask(m.Status()).body["counts"] == running, "all to run")
    scheduler.kill()
    scheduler.start()
    second, client = scheduler.endpoints.epoch, scheduler.client("alice")
    turn_until(fleet, lambda: fleet.inside(second) == AGENTS, "all agents to be back")
    turn_until(fleet, lambda: client.ask(m.Status()).body["counts"] == running, "all to run again")
    assert (AGENTS * EACH, 0) == (fleet.held(), fleet.stopped())
    assert "node lost" not in scheduler.log()


def test_what_is_offered_with_the_welcome_of_a_new_scheduler_arrives(
    scheduler: RawScheduler, fleet: LightFleet
) -> None:
    first = scheduler.endpoints.epoch
    turn_until(fleet, lambda: fleet.inside(first) == AGENTS, "all agents to join")
    scheduler.kill()
    scheduler.start()
    client = scheduler.client("alice")
    tasks = client.submit(AGENTS).tasks  # before the first agent is back
    turn_until(fleet, lambda: fleet.held() == AGENTS, "all to be held")
    shown = client.ask(m.ListTasks({"states": ["assigned", "running"]}))
    assert (AGENTS, AGENTS) == (len(tasks), shown.total)
