"""Does a service manager hear from daemons what it must know, and pings only from working ones?"""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from remuda.config.endpoints import read_endpoints

from ..fakes.bad_disk import PROGRAM, wish
from ..fakes.node_driver import node
from ..fakes.raw import RawScheduler, wait_for
from ..fakes.service_ear import ServiceManager
from ..fakes.store_daemon import StoreDaemon

pytestmark = pytest.mark.cluster
WATCHDOG_S = 2.0
Make = Callable[..., ServiceManager]


@pytest.fixture
def manager(tmp_path: Path, monkeypatch) -> Iterator[ServiceManager]:
    made = ServiceManager(tmp_path, WATCHDOG_S)
    for name, value in made.variables.items():
        monkeypatch.setenv(name, value)
    yield made
    made.close()


@pytest.fixture
def scheduler(tmp_path: Path, manager: ServiceManager) -> Iterator[RawScheduler]:
    running = RawScheduler(tmp_path / "home", program=PROGRAM)
    try:
        running.launch()
        manager.wait_said("READY=1")
        yield running
    finally:
        running.close()


def test_a_scheduler_is_ready_once_it_listens_and_says_how_it_goes(
    scheduler: RawScheduler, manager: ServiceManager
) -> None:
    assert read_endpoints(scheduler.home.endpoints_file) is not None
    scheduler.node("n1").register()
    scheduler.client("alice").submit()
    wait_for(
        lambda: any("1 of 1 nodes ready" in line for line in manager.statuses()),
        "a status that counts the node",
    )
    extended = [line.startswith("EXTEND_TIMEOUT_USEC=") for line in manager.said]
    assert extended.index(True) < manager.said.index("READY=1")
    assert 0 == scheduler.stop()
    manager.wait_said("STOPPING=1")


def test_a_scheduler_that_works_is_pinged_for_also_when_nothing_happens(
    scheduler: RawScheduler, manager: ServiceManager
) -> None:
    manager.wait_pings(12)
    assert scheduler.is_alive()


def test_a_scheduler_whose_idle_disk_hangs_earns_no_ping(
    scheduler: RawScheduler, manager: ServiceManager
) -> None:
    manager.wait_pings(1)
    wish(scheduler.home.root, sync_s=120)  # nobody submits: only the probe of the disk notices
    manager.wait_silence(3 * WATCHDOG_S)
    assert scheduler.is_alive()


def test_a_scheduler_on_a_full_disk_is_left_alone(
    scheduler: RawScheduler, manager: ServiceManager
) -> None:
    wish(scheduler.home.root, free_bytes=0)
    manager.wait_pings(16)  # beyond the time within which the disk must answer
    assert scheduler.is_alive()


def test_a_stopped_scheduler_is_silent_and_goes_on_when_it_is_woken(
    scheduler: RawScheduler, manager: ServiceManager
) -> None:
    manager.wait_pings(1)
    assert scheduler.process is not None
    scheduler.process.send_signal(signal.SIGSTOP)
    manager.wait_silence(2 * WATCHDOG_S)
    scheduler.process.send_signal(signal.SIGCONT)
    manager.wait_pings(2)


def test_a_reload_is_said_before_and_after(
    scheduler: RawScheduler, manager: ServiceManager
) -> None:
    assert scheduler.process is not None
    scheduler.process.send_signal(signal.SIGHUP)
    manager.wait_said("RELOADING=1")
    wait_for(lambda: manager.said.count("READY=1") == 2, "the end of the reload")
    told = manager.said.index("RELOADING=1")
    assert manager.said[told + 1].startswith("MONOTONIC_USEC=")


def test_a_node_says_where_it_is_registered(tmp_path: Path, manager: ServiceManager) -> None:
    with node(tmp_path) as (served, agent):
        manager.wait_said("READY=1")
        served.wait(lambda: any(s.startswith("registered at tcp:") for s in manager.statuses()))
        seen = manager.pings
        served.wait(lambda: manager.pings > seen + 2)
        children = psutil.Process(agent.process.pid).children()
        assert children, "the agent has no child to look at"
        assert not [each for each in children if "NOTIFY_SOCKET" in each.environ()]
        assert 0 == agent.signal(signal.SIGTERM)
        manager.wait_said("STOPPING=1")


def test_a_node_without_its_scheduler_is_ready_and_says_that_it_tries(
    tmp_path: Path, manager: ServiceManager
) -> None:
    with node(tmp_path, wait=False):  # nobody answers
        manager.wait_said("READY=1")
        tries = "not registered, trying tcp://"
        wait_for(lambda: any(s.startswith(tries) for s in manager.statuses()), "that it tries")
        manager.wait_pings(8)


def test_a_store_is_ready_once_it_listens_and_is_pinged_for(
    tmp_path: Path, manager: ServiceManager
) -> None:
    store = StoreDaemon(tmp_path / "home")
    try:
        store.start()
        manager.wait_said("READY=1")
        manager.wait_pings(12)
        wait_for(lambda: [s for s in manager.statuses() if "objects of" in s], "a status")
        assert store.process is not None
        store.process.send_signal(signal.SIGHUP)
        manager.wait_said("RELOADING=1")
        wait_for(lambda: manager.said.count("READY=1") == 2, "the end of the reload")
    finally:
        store.close()
