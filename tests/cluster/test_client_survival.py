"""Do clients outlive a scheduler that is killed or frozen, or that comes back elsewhere?

No future is lost, nothing runs twice, and whoever waits hears the end: counted by what the tasks
themselves wrote. One story has all kinds of callers wait while the scheduler is killed twice; the
tests then read what each of them got.
"""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import zmq

from remuda import AsyncClient, Batch, Client, CompletedTask, Event, LocalCluster, Task
from remuda.client.feed import GAP
from remuda.config.endpoints import read_endpoints
from remuda.config.home import Home

from ..fakes import counted, patient_client
from ..fakes.raw import SMALL
from .command_line import wait_until
from .far import far
from .harness import Cluster, real_cluster

pytestmark = pytest.mark.cluster

CALLS = 2_000
STREAMED = 6_000
FINISH_S = 120.0
FROZEN_S = 6.0  # longer than a request waits before it is sent again
PYTHON_PATH = f'[node]\npython_path = ["{Path(counted.__file__).parent}"]\n'


class Story:
    """Callers of every kind, each on a thread of its own, over two kills of the scheduler."""

    def __init__(self, cluster: Cluster, folder: Path, pool: ThreadPoolExecutor) -> None:
        self.cluster = cluster
        self.folder = folder
        self.gate = folder / "gate"
        self.epoch = cluster.client.status()["epoch"]
        self.light = cluster.client.options(cpus=0.1)
        self.singles: list[Task] = []
        self.killed_twice = threading.Event()
        self.streaming = threading.Event()
        self.batch = self.light.map("counted:work", *self.calls("batch", CALLS))
        self.first_news = threading.Event()

        def beside(work: Callable[[], Any]) -> Future[Any]:
            return pool.submit(work)

        self.completed = beside(lambda: list(cluster.client.as_completed(self.batch, FINISH_S)))
        self.streamed = beside(self.stream)
        self.submitted = beside(self.submit)
        self.command = beside(lambda: cluster.client.run(["sh", "-c", self.script()]))
        self.awaited = beside(lambda: asyncio.run(self.wait_for_all()))
        self.news = beside(self.follow)
        self.away = subprocess.Popen(
            [sys.executable, patient_client.__file__, str(cluster.home.root), str(self.gate)],
            stdout=subprocess.PIPE,
            text=True,
        )

    def calls(self, name: str, count: int) -> tuple[list[str], range]:
        """Name a folder into which each run of each of so many calls writes a line."""
        where = self.folder / name
        where.mkdir()
        return [str(where)] * count, range(count)

    def runs(self, name: str) -> Counter[int]:
        """Count how many calls ran how often."""
        paths = (self.folder / name).iterdir()
        return Counter(len(path.read_text().splitlines()) for path in paths)

    def script(self) -> str:
        return f"while [ ! -e {self.gate} ]; do sleep 0.05; done; echo said; exit 3"

    def stream(self) -> Batch:
        where, numbers = self.calls("streamed", STREAMED)

        def told() -> Iterator[int]:
            for number in numbers:
                if number == STREAMED // 3:
                    self.streaming.set()
                yield number

        return self.light.map("counted:work", where, told())

    def submit(self) -> None:
        (self.folder / "singles").mkdir()
        single = self.light.options(name="single")
        while not self.killed_twice.is_set():
            where = str(self.folder / "singles")
            self.singles.append(single.submit("counted:work", where, len(self.singles)))

    async def wait_for_all(self) -> tuple[list[int], CompletedTask]:
        async with AsyncClient(self.cluster.home.root) as cluster:
            light = cluster.options(cpus=0.1)
            command = asyncio.ensure_future(light.run(["sh", "-c", self.script()]))
            batch = await light.map("counted:work", *self.calls("awaited", CALLS))
            seen = [task async for task in cluster.as_completed(batch, FINISH_S)]
            assert set(batch) == set(seen)
            return [await task for task in batch], await command

    def follow(self) -> list[Event]:
        news = self.cluster.client.events(follow=True, kind=["node", "scheduler"])
        found = [next(news)]
        self.first_news.set()
        wanted = (GAP, "scheduler.started", "node.joined") * 2
        return found + [next(each for each in news if each.kind == kind) for kind in wanted]

    def play(self) -> None:
        """Kill the scheduler in the middle of it all, twice."""
        assert self.away.stdout is not None
        task = self.cluster.client.task(self.away.stdout.readline().strip())
        assert self.streaming.wait(FINISH_S)
        assert self.first_news.wait(FINISH_S)
        self.kill()
        self.away.send_signal(signal.SIGSTOP)
        self.gate.touch()
        assert 0 == task.result(FINISH_S).returncode
        assert 1 == self.cluster.client.prune([task])
        self.kill()  # with all that it had to tell of that task
        self.killed_twice.set()
        self.away.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill the scheduler while single tasks are submitted, and wait for the next one."""
        wanted = len(self.singles) + 20
        wait_until(lambda: len(self.singles) >= wanted, "nothing is submitted")
        old = self.cluster.kill("scheduler")
        self.cluster.wait_restarted("scheduler", old)


@pytest.fixture(scope="module")
def hardy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with real_cluster(tmp_path_factory.mktemp("hardy"), settings=PYTHON_PATH) as made:
        yield made


@pytest.fixture(scope="module")
def story(hardy: Cluster) -> Iterator[Story]:
    """Play the story once; what each caller got is read by a test of its own."""
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(8))
        made = Story(hardy, far().common_folder("story"), pool)
        stack.enter_context(made.away)
        stack.callback(made.away.kill)
        stack.callback(made.killed_twice.set)
        made.play()
        yield made


def test_thousands_of_open_futures_are_all_resolved(story: Story) -> None:
    story.cluster.note(story.batch)
    assert list(range(CALLS)) == list(story.batch.results(FINISH_S))
    assert (set(story.batch), set()) == tuple(story.cluster.client.wait(story.batch, FINISH_S))
    assert set(story.batch) == set(story.completed.result(FINISH_S))
    assert {1: CALLS} == story.runs("batch")


def test_a_map_that_was_under_way_goes_on_in_the_same_batch(story: Story) -> None:
    batch = story.streamed.result(FINISH_S)
    story.cluster.note(batch)
    assert list(range(STREAMED)) == list(batch.results(FINISH_S))
    assert STREAMED == len(story.cluster.client.batch(batch.id))
    assert {1: STREAMED} == story.runs("streamed")


def test_submissions_sent_again_with_their_keys_are_stored_and_run_once(story: Story) -> None:
    story.submitted.result(FINISH_S)
    count = len(story.singles)
    story.cluster.note(story.singles)
    assert list(range(count)) == [task.result(FINISH_S) for task in story.singles]
    assert count == len(story.cluster.client.tasks(name="single", limit=count + 10))
    assert {1: count} == story.runs("singles")


def test_a_command_that_is_waited_for_gives_its_output(story: Story) -> None:
    done = story.command.result(FINISH_S)
    assert (3, "said\n") == (done.returncode, done.stdout)


def test_awaited_tasks_and_commands_end_as_others_do(story: Story) -> None:
    values, command = story.awaited.result(FINISH_S)
    assert (list(range(CALLS)), "said\n") == (values, command.stdout)
    assert {1: CALLS} == story.runs("awaited")


def test_who_follows_events_reads_on_behind_a_mark(story: Story) -> None:
    first, *rest = story.news.result(FINISH_S)
    assert first.kind != GAP
    started = [each.text for each in rest if each.kind == "scheduler.started"]
    assert [f"the scheduler started, epoch {story.epoch + number}" for number in (1, 2)] == started


def test_a_client_that_was_away_when_its_task_was_pruned_is_told_so(story: Story) -> None:
    assert story.away.stdout is not None
    assert "result_expired\n" == story.away.stdout.readline()


def test_a_frozen_scheduler_is_asked_again_and_stores_nothing_twice(
    hardy: Cluster, common: Path
) -> None:
    light = hardy.client.options(cpus=0.1, name="frozen")
    pid = hardy.pid("scheduler")
    os.kill(pid, signal.SIGSTOP)
    thaw = threading.Timer(FROZEN_S, os.kill, (pid, signal.SIGCONT))
    thaw.start()
    try:
        with ThreadPoolExecutor(20) as pool:
            submitted = [
                pool.submit(light.submit, "counted:work", str(common), each) for each in range(20)
            ]
            batch = light.map("counted:work", [str(common)] * 500, range(20, 520))
            tasks = [*(each.result(FINISH_S) for each in submitted), *batch]
    finally:
        thaw.join()
    hardy.note(tasks)
    assert list(range(520)) == [task.result(FINISH_S) for task in tasks]
    assert 520 == len(hardy.client.tasks(name="frozen", limit=600))
    assert ["done\n"] * 520 == [path.read_text() for path in common.iterdir()]


def test_a_scheduler_that_comes_back_on_other_ports_is_found(tmp_path: Path) -> None:
    home = tmp_path / "home"
    environment = {"REMUDA_NODE__LOCK_DIR": str(tmp_path / "locks"), **SMALL}
    with LocalCluster(1, home=home, environment=environment) as first:
        client = Client(home)
        never = client.options(labels={"rack": "9"}, allow_infeasible=True)
        tasks = list(never.map(abs, [-1, -2]))
        left = control_port(first)
        first.close()
    with zmq.Context() as context, context.socket(zmq.PULL) as stranger, client:
        stranger.bind(f"tcp://127.0.0.1:{left}")
        with LocalCluster(1, home=home, environment=environment) as again:
            assert left != control_port(again)
            assert 2 == sum(task.cancel() for task in tasks)
            client.wait(tasks, FINISH_S)
            assert {"cancelled"} == {task.state for task in tasks}
            assert 3 == client.submit(abs, -3).result(FINISH_S)


def control_port(local: LocalCluster) -> int:
    found = read_endpoints(Home(local.home).endpoints_file)
    assert found is not None
    return found.control
