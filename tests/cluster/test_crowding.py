"""Does the scheduler serve everybody else while one node, stranger or task takes what it can?"""

import os
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from remuda.protocol import codec
from remuda.protocol import messages as m

from ..fakes.raw import RawNode, RawScheduler, raw_scheduler, wait_for
from .harness import Cluster, real_cluster
from .test_scheduler_daemon import wait_state

pytestmark = pytest.mark.cluster
GROWTH_BYTES_MAX = 100 << 20
CALLS = 30


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[RawScheduler]:
    with raw_scheduler(tmp_path, '[scheduler]\nhandshake = "500ms"\n') as running:
        yield running


def work_off(scheduler: RawScheduler, node: RawNode, tasks: int) -> None:
    """Submit tasks one after the other and let the node end each."""
    alice = scheduler.client("alice")
    for _ in range(tasks):
        (task,) = alice.submit().tasks
        node.finish(node.hear(m.Offer))
        wait_state(alice, task, "succeeded")


def problems(scheduler: RawScheduler) -> list[str]:
    found: list[str] = scheduler.client("vera").ask(m.Status()).body["problems"]
    return found


def shout(node: RawNode, over: threading.Event) -> None:
    """Send what nobody can read, and what no node may say, as fast as it goes."""
    misplaced = codec.encode(m.Status(), 0)
    while not over.is_set():
        node.uplink.send(os.urandom(300))
        node.uplink.send(misplaced)


def test_a_node_that_floods_with_garbage_delays_others_and_stops_nobody(
    scheduler: RawScheduler,
) -> None:
    bad, good, over = scheduler.node("n1"), scheduler.node("n2"), threading.Event()
    good.register()
    assert scheduler.process is not None
    before = psutil.Process(scheduler.process.pid).memory_info().rss
    thread = threading.Thread(target=shout, args=(bad, over))
    thread.start()
    try:
        work_off(scheduler, good, CALLS)
        found = wait_for(lambda: problems(scheduler), "an alarm")
    finally:
        over.set()
        thread.join()
    assert "frames a minute from n1 make no sense" in found[0]
    assert psutil.Process(scheduler.process.pid).memory_info().rss - before < GROWTH_BYTES_MAX
    assert len(scheduler.log()) < 100_000, "the log was flooded as well"


def test_without_descriptors_those_inside_are_served_and_others_come_in_later(
    scheduler: RawScheduler,
) -> None:
    node, vera = scheduler.node("n1"), scheduler.client("vera")
    node.register()
    work_off(scheduler, node, 1)
    assert scheduler.process is not None
    pid = scheduler.process.pid
    used = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 10, hard))
    with ExitStack() as strangers:
        for _ in range(40):  # they say nothing: each costs a descriptor until its handshake is over
            stranger = strangers.enter_context(socket.socket())
            stranger.connect(("127.0.0.1", scheduler.endpoints.control))

        def alarm() -> str:
            node.beat()  # it holds nothing now
            return "".join(vera.ask(m.Status()).body["problems"])

        assert "file descriptors are open" in wait_for(alarm, "an alarm")
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
    wait_for(lambda: not alarm(), "the end of the alarm")
    work_off(scheduler, node, 1)


@pytest.fixture
def one_node(tmp_path: Path) -> Iterator[Cluster]:
    with real_cluster(tmp_path, nodes=1, settings="[node]\ncpus = 2\n") as made:
        yield made


def test_results_arrive_and_memory_stays_while_a_client_follows_a_flood_of_output(
    one_node: Cluster, common: Path
) -> None:
    flag, client = common / "stop", one_node.client
    flood = client.submit_command(
        ["sh", "-c", f'while [ ! -e "{flag}" ]; do head -c 100000000 /dev/zero | tr "\\0" x; done']
    )
    daemons = [psutil.Process(one_node.pid(name)) for name in ("scheduler", "node-1")]
    read = [0]

    def follow() -> None:
        for text in flood.logs(follow=True):
            read[0] += len(text)

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        wait_for(lambda: read[0] > 10_000_000, "output")
        before = [process.memory_info().rss for process in daemons]
        for number in range(CALLS):
            assert f"{number}\n" == client.run(["echo", str(number)]).stdout
        seen = read[0]
        wait_for(lambda: read[0] > seen + 10_000_000 or not thread.is_alive(), "more output")
        grown = [
            process.memory_info().rss - at for process, at in zip(daemons, before, strict=True)
        ]
    finally:
        flag.touch()
        thread.join()
    assert all(growth < GROWTH_BYTES_MAX for growth in grown), grown
