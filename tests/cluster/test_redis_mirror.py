"""Does Redis, in all its failures, change nothing but who answers?

One cluster and one server are shared. Each case harms the server, has work done and read meanwhile,
heals it, and waits until the mirror is used again.
"""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from remuda.client.cached import CachedState
from remuda.client.client import Client
from remuda.client.task import Task
from remuda.protocol import mirrored

from ..fakes.redis_server import RedisServer, redis_server
from .command_line import wait_until
from .harness import Cluster, real_cluster

pytestmark = pytest.mark.cluster

END_S = 60.0
ROUNDS = 5
FUTURE = 10**12
HUGE_BYTES = 100 * 1024 * 1024
SETTINGS = """
[redis]
url = "{url}"
reconnect_max = "300ms"
"""


class Rig:
    """A cluster with a mirror, and work that must come out the same whatever Redis does."""

    def __init__(self, cluster: Cluster, redis: RedisServer) -> None:
        self.cluster = cluster
        self.redis = redis

    def work(self, count: int = 4) -> list[Task]:
        """Submit calls and see each come out as it must."""
        tasks = [self.cluster.client.submit("operator:mul", n, 7) for n in range(count)]
        self.cluster.note(tasks)
        assert [n * 7 for n in range(count)] == [task.result(END_S) for task in tasks]
        return tasks

    def reader(self) -> Client:
        return Client(self.cluster.home.root, redis=self.redis.url)

    def revision(self) -> tuple[int, int]:
        status = self.cluster.client.status()
        return status["epoch"], status["rev"]

    def read(
        self, client: Client, tasks: list[Task], min_rev: tuple[int, int] | None = None
    ) -> list[CachedState]:
        """Read tasks that succeeded: whoever answers, the answer is that, and not of the future."""
        found = client.cached_states(tasks, self.revision() if min_rev is None else min_rev)
        assert ["succeeded"] * len(tasks) == [each.state for each in found]
        newest = self.revision()
        assert [] == [each for each in found if each.revision > newest]
        return found

    def mirror(self) -> dict[str, Any]:
        return dict(self.cluster.client.status()["redis"])

    def wait_state(self, *states: str) -> None:
        wait_until(lambda: self.mirror()["state"] in states, f"the mirror is not {states}")

    def wait_used(self, tasks: list[Task]) -> None:
        """Wait until a new reader gets all of some tasks from the mirror."""
        with self.reader() as client:

            def used() -> bool:
                client._mirror._pause_ends_s = 0.0  # it left the server alone: not any longer
                return all(each.cached for each in self.read(client, tasks))

            wait_until(used, "the mirror is not used")

    def head(self) -> mirrored.Head:
        (key,) = self.redis.keys("remuda:*:head")
        return mirrored.read_head(self.redis.client.get(key))

    def task_key(self, task: Task) -> str:
        known, head = self.mirror(), self.head()
        prefix = mirrored.line_prefix(known["cluster_id"], head.epoch, head.line)
        return mirrored.task_key(prefix, task.key)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Start the cluster before its server is there: absent from the start is the first case."""
    folder = tmp_path_factory.mktemp("mirror")
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server(folder / "redis", started=False))
        settings = SETTINGS.format(url=redis.url)
        cluster = stack.enter_context(real_cluster(folder, nodes=1, settings=settings))
        made = Rig(cluster, redis)
        made.wait_state("down")
        early = made.work()
        redis.start()
        made.wait_used(early)
        yield made


# --- the harms -----------------------------------------------------------------------------------


@contextmanager
def killed(rig: Rig) -> Iterator[None]:
    rig.redis.kill()
    yield
    rig.redis.start()


@contextmanager
def frozen(rig: Rig) -> Iterator[None]:
    rig.redis.send(signal.SIGSTOP)
    yield
    rig.redis.send(signal.SIGCONT)


@contextmanager
def wiped(rig: Rig) -> Iterator[None]:
    rig.redis.client.flushall()
    yield


@contextmanager
def wrong_password(rig: Rig) -> Iterator[None]:
    rig.redis.client.config_set("requirepass", "changed")
    rig.redis.client.execute_command("AUTH", "changed")
    rig.redis.hang_up()
    yield
    rig.redis.client.config_set("requirepass", "")


@contextmanager
def slow(rig: Rig) -> Iterator[None]:
    rig.redis.road.delay_s = 2.0
    yield
    rig.redis.road.delay_s = 0.0


HARMS = (killed, frozen, wiped, wrong_password, slow)


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_work_and_answers_are_the_same_while_redis_is(rig: Rig, harm: Any) -> None:
    before = rig.work()
    rig.wait_used(before)
    with harm(rig), rig.reader() as client:
        for _ in range(ROUNDS):
            rig.read(client, before)
            rig.read(client, rig.work(1))
        if harm is not wiped:
            rig.wait_state("down", "resyncing")
    rig.wait_used(before + rig.work())
    rig.wait_state("ok")


# --- the lies ------------------------------------------------------------------------------------


def replace_by_a_list(rig: Rig, key: bytes) -> None:
    rig.redis.client.delete(key)
    rig.redis.client.rpush(key, "not", "a", "value")


def replace_by_noise(rig: Rig, key: bytes) -> None:
    rig.redis.client.set(key, os.urandom(100))


def replace_by_something_huge(rig: Rig, key: bytes) -> None:
    rig.redis.client.delete(key)
    rig.redis.client.setrange(key, HUGE_BYTES, b"x")


def lie(rig: Rig, key: bytes, **changes: int) -> None:
    """Write what stood there with other numbers, and with a state that is not true."""
    import msgpack

    if rig.redis.client.type(key) != b"string":
        return
    fields = msgpack.unpackb(rig.redis.client.get(key))
    told = {name: fields[name] + by for name, by in changes.items() if name in fields}
    untrue = {"state": "failed"} if "state" in fields else {}
    rig.redis.client.set(key, msgpack.packb(fields | told | untrue))


def pretend_an_old_epoch(rig: Rig, key: bytes) -> None:
    lie(rig, key, epoch=-1)


def pretend_a_future_revision(rig: Rig, key: bytes) -> None:
    lie(rig, key, rev=FUTURE)


def pretend_a_future_epoch(rig: Rig, key: bytes) -> None:
    lie(rig, key, epoch=1, rev=FUTURE)


LIES = (
    replace_by_a_list,
    replace_by_noise,
    replace_by_something_huge,
    pretend_an_old_epoch,
    pretend_a_future_revision,
    pretend_a_future_epoch,
)


@pytest.mark.parametrize("poison", LIES, ids=lambda poison: poison.__name__)
def test_no_lie_of_redis_is_believed(rig: Rig, poison: Callable[[Rig, bytes], None]) -> None:
    tasks = rig.work(1)
    rig.wait_used(tasks)
    with rig.reader() as client:
        poison(rig, rig.task_key(tasks[0]).encode())
        for _ in range(ROUNDS):
            assert [False] == [each.cached for each in rig.read(client, tasks, min_rev=(0, 0))]
        for _ in range(ROUNDS):
            for key in rig.redis.keys("remuda:*:head"):
                poison(rig, key)
            rig.read(client, tasks, min_rev=(0, 0))  # true, whoever says it: the mirror may mend
        rig.work()


def test_a_stream_of_another_type_starts_a_new_line(rig: Rig) -> None:
    rig.wait_used(rig.work(1))
    before = rig.head().line
    (stream,) = [key for key in rig.redis.keys("remuda:*:changes") if f".{before}:" in str(key)]
    replace_by_a_list(rig, stream)
    rig.wait_used(rig.work())
    wait_until(lambda: rig.head().line > before, "no new line")


# --- what else is promised -----------------------------------------------------------------------


def test_the_stream_tells_each_change_in_order(rig: Rig) -> None:
    import msgpack

    (task,) = rig.work(1)
    rig.wait_used([task])
    line = rig.head().line
    (stream,) = [key for key in rig.redis.keys("remuda:*:changes") if f".{line}:" in str(key)]
    entries = [msgpack.unpackb(fields[b"value"]) for _, fields in rig.redis.client.xrange(stream)]
    ours = [each for each in entries if each["id"] == task.key]
    states = [each["state"] for each in ours]
    assert ("succeeded", states) == (states[-1], sorted(states, key=MOVES.index))
    assert 0 < rig.redis.client.ttl(stream) <= 3_600


MOVES = ["queued", "assigned", "running", "succeeded"]


def test_a_reader_takes_nothing_older_than_it_asks_for(rig: Rig) -> None:
    task = rig.work(1)
    rig.wait_used(task)
    status = rig.cluster.client.status()
    with rig.reader() as client:
        wishes = [(status["epoch"], status["rev"] + FUTURE), (status["epoch"] + 1, 0)]
        answers = [rig.read(client, task, min_rev=wish)[0].cached for wish in wishes]
    assert [False, False] == answers


def test_a_client_never_reads_a_task_older_than_it_was_told(rig: Rig) -> None:
    rig.wait_used(rig.work(1))
    with rig.reader() as client:
        task = client.submit("time:sleep", 1.0)
        wait_until(lambda: client.cached_states([task])[0].cached, "the mirror is not used")
        (process,) = mirror_processes(rig)
        process.suspend()  # from here on the mirror says what is no longer so
        try:
            task.result(END_S)
            assert ["succeeded"] == [each.state for each in client.cached_states([task])]
        finally:
            process.resume()


def test_a_killed_mirror_process_is_replaced_and_an_ended_one_is_no_zombie(rig: Rig) -> None:
    (old,) = mirror_processes(rig)
    old.kill()
    task = rig.work(1)
    wait_until(lambda: rig.mirror()["restarts"] > 0, "it was not started again")
    rig.wait_used(task)
    (new,) = mirror_processes(rig)
    assert (False, False) == (new.pid == old.pid, old.is_running())


def test_a_killed_scheduler_leaves_no_mirror_process_and_the_next_one_has_a_mirror(
    rig: Rig,
) -> None:
    before = rig.work()
    rig.wait_used(before)
    (process,) = mirror_processes(rig)
    epoch = rig.head().epoch
    rig.cluster.wait_restarted("scheduler", rig.cluster.kill("scheduler"))
    wait_until(lambda: not process.is_running(), "the mirror process outlived its scheduler")
    rig.wait_used(before + rig.work())
    assert rig.head().epoch > epoch


def mirror_processes(rig: Rig) -> list[psutil.Process]:
    scheduler = psutil.Process(rig.cluster.pid("scheduler"))
    return [
        each for each in scheduler.children() if "remuda.scheduler.mirror_process" in each.cmdline()
    ]


def test_a_password_is_read_from_its_file_and_stands_nowhere_else(tmp_path: Path) -> None:
    secret = "hush-4b1f0e"
    (tmp_path / "password").write_text(f"{secret}\n")
    with redis_server(tmp_path / "redis") as redis:
        redis.client.config_set("requirepass", secret)
        settings = SETTINGS.format(url=redis.url) + f'password_file = "{tmp_path}/password"\n'
        with real_cluster(tmp_path, nodes=1, settings=settings) as cluster:
            rig = Rig(cluster, redis)
            rig.work(1)
            rig.wait_state("ok")
            (process,) = mirror_processes(rig)
            seen = [*process.cmdline(), *process.environ().values(), cluster.logs()]
            assert [] == [text for text in seen if secret in text]
        redis.client.config_set("requirepass", "")


def test_a_password_in_the_url_is_shown_to_nobody(tmp_path: Path) -> None:
    secret = "hush-77aa01"
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    settings = SETTINGS.format(url=f"redis://ann:{secret}@127.0.0.1:{port}/0")
    with real_cluster(tmp_path, nodes=1, settings=settings) as cluster:
        rig = Rig(cluster, None)  # type: ignore[arg-type]  # nobody answers on that port
        rig.wait_state("down")
        client = cluster.client
        from remuda.client import configuring

        shown = str(configuring.show(client.link)) + str(client.status())
        (process,) = mirror_processes(rig)
        words = " ".join([*process.cmdline(), *process.environ().values()])
    assert "redis://ann:[redacted]@127.0.0.1" in shown
    assert [] == [text for text in (shown, words, cluster.logs()) if secret in text]
