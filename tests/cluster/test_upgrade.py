"""Is a cluster upgraded while it works? Real daemons of the release before, beside today's.

The tests follow one cluster through its upgrade: under the old scheduler, under the new one, and
after the old agent was replaced as well. `node-1` begins old, `node-2` is new from the start.
"""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from remuda.client import control
from remuda.client.outcome import TaskCancelled, TaskFailed
from remuda.client.task import Task
from remuda.protocol.codec import VERSION
from remuda.protocol.errors import Conflict, Infeasible
from remuda.scheduler.schema import OPENED_SINCE, SCHEMA_VERSION

from .command_line import wait_until
from .far import far
from .two_releases import NEW, OLD, TwoReleases, two_releases

pytestmark = pytest.mark.cluster

FINISH_S = 60.0
CPUS = 2
CODE = """
import os, time


def until(path):
    while not os.path.exists(path):
        time.sleep(0.02)
    return ("went", os.getpid())


class Echo:
    def load(self):
        self.loaded = os.getpid()

    def __call__(self, path):
        return until(path)
"""
SETTINGS = """
[handlers.echo]
target = "project:Echo"
workers = 1
"""
# What a program does with the client of the release before; its arguments are options of a task.
CLIENT = """
import sys, time
from remuda import Client, TaskCancelled

options = dict(word.split("=") for word in sys.argv[1:])
with Client() as cluster:
    with_options = cluster.options(**options)
    assert 4.0 == with_options.submit("math:sqrt", 16).result(60)
    assert [1.0, 2.0] == list(with_options.map("math:sqrt", [1, 4]).results(60))
    done = cluster.run(["sh", "-c", "echo out; echo err >&2; exit 3"], **options)
    assert (3, "out\\n", "err\\n") == (done.returncode, done.stdout, done.stderr)
    long = cluster.submit_command(["sh", "-c", "echo begun; sleep 1000"], **options)
    assert "begun\\n" == next(long.logs(follow=True))
    while long.explain()["state"] != "running":
        time.sleep(0.05)
    assert long.cancel(0.1)
    try:
        long.result(60)
    except TaskCancelled:
        print(long.standing.node, len(cluster.tasks(limit=3)))
"""
READY = """
import time
from remuda import Client

with Client() as cluster:
    while ["ready", "ready"] != [row["state"] for row in cluster.nodes()]:
        time.sleep(0.1)
"""
# Work that is under way when the scheduler is replaced: ended, running three times, queued twice.
WORK = """
import sys, time
from remuda import Client

go = sys.argv[1]
line = f"echo begun; until [ -e {go} ]; do sleep 0.05; done; echo done; exit 7"
here = {"node": "node-1", "cpus": 0.1}
with Client() as cluster:
    ended = cluster.submit_command(["sh", "-c", "echo kept; exit 4"], node="node-1")
    ended.exception(60)
    printing = cluster.submit_command(["sh", "-c", line], **here)
    calls = [cluster.options(**here).submit(target, go) for target in
             ("project:until", "echo", "echo")]
    queued = cluster.submit_command(["echo", "at last"], node="node-1", cpus=2)
    for task in (printing, *calls[:2]):
        while task.state != "running":
            time.sleep(0.05)
    print(*(task.id for task in (ended, printing, queued, *calls)))
"""


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoReleases]:
    """Run the old scheduler with an old agent and a new one."""
    folder = tmp_path_factory.mktemp("upgrade")
    (folder / "lib").mkdir()
    (folder / "lib" / "project.py").write_text(CODE)
    with two_releases(folder, SETTINGS, [CPUS, CPUS]) as made:
        made.start("scheduler", OLD)
        made.start("node-1", OLD)
        made.start("node-2", NEW)
        wait_ready(made)
        yield made


def wait_ready(cluster: TwoReleases) -> None:
    done = cluster.python(OLD, "-c", READY)
    assert 0 == done.returncode, done.stderr


def test_each_daemon_is_of_the_release_that_it_should_be(old: TwoReleases) -> None:
    word = "import remuda, remuda.protocol.codec as c; print(remuda.__file__, c.VERSION)"
    files = {release: old.python(release, "-c", word).stdout.split() for release in (OLD, NEW)}
    assert [str(old.source[OLD] / "remuda" / "__init__.py"), "1"] == files[OLD]
    assert [str(old.source[NEW] / "remuda" / "__init__.py"), str(VERSION)] == files[NEW]


def test_a_new_agent_works_for_a_scheduler_of_the_release_before(old: TwoReleases) -> None:
    done = old.python(OLD, "-c", CLIENT, "node=node-2")
    assert (0, "node-2 3\n") == (done.returncode, done.stdout), done.stderr


def test_a_new_client_is_told_to_wait_for_the_upgrade_of_the_scheduler(old: TwoReleases) -> None:
    done = old.type(NEW, "status")
    assert 4 == done.returncode
    assert f"protocol {VERSION} is not spoken here: this side speaks 1" in done.stderr


class Upgraded:
    """What was under way when the old scheduler was killed, and a client of today."""

    def __init__(self, cluster: TwoReleases) -> None:
        self.cluster = cluster
        self.go = far().common_folder("upgrade") / "go"
        made = cluster.python(OLD, "-c", WORK, str(self.go))
        assert 0 == made.returncode, made.stderr
        self.ended, self.printing, self.queued, *self.calls = made.stdout.split()
        cluster.kill("scheduler")
        cluster.start("scheduler", NEW)
        wait_ready(cluster)
        self.client = cluster.client()

    def task(self, name: str) -> Task:
        return self.client.task(name).refresh()

    def row(self, name: str) -> dict[str, Any]:
        return control.show_task(self.client.link, self.task(name).key)


@pytest.fixture(scope="module")
def upgraded(old: TwoReleases) -> Iterator[Upgraded]:
    """Kill the old scheduler while tasks run, and start the new one on its journal."""
    made = Upgraded(old)
    yield made
    made.client.close()


def test_the_new_scheduler_goes_on_with_the_journal_of_the_old_one(upgraded: Upgraded) -> None:
    rows = [upgraded.row(name) for name in (upgraded.printing, *upgraded.calls[:2])]
    assert [("running", "node-1", 1)] * 3 == [
        (row["state"], row["node"], row["attempt"]) for row in rows
    ]
    assert "queued" == upgraded.row(upgraded.queued)["state"]
    ended = upgraded.row(upgraded.ended)
    assert ("failed", "exit_code") == (ended["state"], ended["code"])
    assert "kept\n" == "".join(upgraded.task(upgraded.ended).logs())


def test_each_node_is_spoken_to_in_its_own_protocol(upgraded: Upgraded) -> None:
    rows = upgraded.client.nodes()
    assert {"node-1": 1, "node-2": VERSION} == {row["name"]: row["protocol"] for row in rows}


def test_an_old_agent_works_for_the_new_scheduler(upgraded: Upgraded) -> None:
    client = upgraded.client
    done = client.run(["sh", "-c", "echo out; exit 3"], node="node-1")
    assert (3, "out\n") == (done.returncode, done.stdout)
    assert 4.0 == client.options(node="node-1").submit("math:sqrt", 16).result(FINISH_S)
    long = client.submit_command(["sleep", "1000"], node="node-1")
    wait_until(lambda: long.state == "running", "it does not begin")
    long.cancel(0.1)
    with pytest.raises(TaskCancelled):
        long.result(FINISH_S)


def test_what_an_old_agent_cannot_do_is_not_asked_of_it(upgraded: Upgraded) -> None:
    with pytest.raises(Conflict, match=r"node-1.* speaks protocol 1.*upgrade"):
        upgraded.task(upgraded.calls[0]).stack()
    with pytest.raises(Infeasible, match="upgrade"):
        upgraded.client.submit_command(["true"], node="node-1", if_node_lost="fence")
    fenced = upgraded.client.submit_command(["true"], if_node_lost="fence")
    fenced.result(FINISH_S)
    assert "node-2" == fenced.standing.node


def test_an_old_client_works_with_the_new_scheduler(upgraded: Upgraded) -> None:
    done = upgraded.cluster.python(OLD, "-c", CLIENT, "node=node-1")
    assert (0, "node-1 3\n") == (done.returncode, done.stdout), done.stderr


def test_an_old_command_line_works_with_the_new_scheduler(upgraded: Upgraded) -> None:
    cluster = upgraded.cluster
    done = cluster.type(OLD, "run", "--", "sh", "-c", "echo out; exit 5")
    assert (5, "out\n") == (done.returncode, done.stdout)
    rows = json.loads(cluster.type(OLD, "task", "list", "--json").stdout)
    assert ("failed", "exit_code") == (rows[0]["state"], rows[0]["code"])
    assert 0 == cluster.type(OLD, "task", "show", upgraded.printing).returncode


def test_the_old_scheduler_refuses_the_journal_and_says_what_to_do(upgraded: Upgraded) -> None:
    journal = apsw.Connection(
        str(upgraded.cluster.home.scheduler_dir / "journal.db"), flags=apsw.SQLITE_OPEN_READONLY
    )
    path = str(upgraded.cluster.folder / "copy.db")
    with closing(journal), closing(apsw.Connection(path)) as copy:
        backup = copy.backup("main", journal, "main")
        backup.step()
        backup.finish()
    word = (
        "import sys, apsw; from remuda.scheduler.journal import migrate\n"
        "migrate(apsw.Connection(sys.argv[1]))"
    )
    done = upgraded.cluster.python(OLD, "-c", word, path)
    assert (
        f"the journal has schema {OPENED_SINCE[SCHEMA_VERSION]}, this remuda knows 1" in done.stderr
    )


@pytest.fixture(scope="module")
def adopted(upgraded: Upgraded) -> Upgraded:
    """Kill the old agent as well, start a new one in its place, and let all work end."""
    upgraded.cluster.kill("node-1")
    upgraded.cluster.start("node-1", NEW)
    wait_until(
        lambda: {VERSION} == {row["protocol"] for row in upgraded.client.nodes()},
        f"the new agent does not join\n{upgraded.cluster.logs()}",
    )
    upgraded.go.touch()
    return upgraded


def test_a_command_of_an_old_runner_ends_whole_under_the_new_agent(adopted: Upgraded) -> None:
    task = adopted.task(adopted.printing)
    with pytest.raises(TaskFailed) as caught:
        task.result(FINISH_S)
    assert (7, 1) == (caught.value.returncode, task.standing.attempt)
    assert "begun\ndone\n" == "".join(task.logs())


def test_calls_of_old_workers_end_or_come_back_uncharged(adopted: Upgraded) -> None:
    tasks = [adopted.task(name) for name in adopted.calls]
    values = [task.result(FINISH_S) for task in tasks]
    assert ["went"] * 3 == [word for word, _ in values]
    assert [1, 1] == [task.standing.attempt for task in tasks[:2]]


def test_a_handler_of_the_old_release_takes_no_new_call(adopted: Upgraded) -> None:
    _, old_pid = adopted.task(adopted.calls[1]).result(FINISH_S)
    there = adopted.client.options(node="node-1", cpus=0.1)
    _, pid = there.submit("echo", str(adopted.go)).result(FINISH_S)
    assert pid != old_pid


def test_what_was_queued_all_the_time_runs_at_last(adopted: Upgraded) -> None:
    result = adopted.task(adopted.queued).result(FINISH_S)
    assert "at last\n" == result.stdout


def test_a_task_that_begins_after_the_upgrade_can_be_reached(
    adopted: Upgraded, common: Path
) -> None:
    task = adopted.client.options(node="node-1").submit("project:until", str(common / "go"))
    wait_until(lambda: task.state == "running", "it does not begin")
    assert "in until" in task.stack()
    (common / "go").touch()
    task.result(FINISH_S)
