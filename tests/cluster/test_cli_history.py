"""Do `remuda events` and `remuda task prune` show what was, and forget only what they should?"""

import json
import subprocess
from collections.abc import Callable

import pytest

from remuda import TaskFailed

from .command_line import COMMAND, DEADLINE_S
from .harness import Cluster

pytestmark = pytest.mark.cluster

END_S = 60.0
Typed = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def remuda(shared: Cluster) -> Typed:
    def typed(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, "--home", str(shared.home.root), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    return typed


def test_events_tell_of_nodes_and_of_a_task_that_failed(shared: Cluster, remuda: Typed) -> None:
    task = shared.client.submit("math:sqrt", -1)
    with pytest.raises(TaskFailed):
        task.result(END_S)
    nodes = remuda("events", "--kind", "node.joined").stdout.splitlines()
    assert {"node-1", "node-2"} == {line.split()[3] for line in nodes}
    rows = json.loads(remuda("events", "--task", task.id, "--json").stdout)
    assert ["task.submitted", "task.failed"] == [row["kind"] for row in rows]
    assert ("error", task.id, "exception", 1) == tuple(
        rows[-1][key] for key in ("level", "task", "code", "attempt")
    )
    assert "math domain error" in rows[-1]["text"]


def test_events_of_a_batch_name_its_members(shared: Cluster, remuda: Typed) -> None:
    batch = shared.client.map("math:sqrt", [1, 4])
    assert [1.0, 2.0] == list(batch.results(END_S))
    said = remuda("events", "--task", batch.id, "--kind", "task.succeeded", "--since", "1h").stdout
    assert {f"{batch.id}.0", f"{batch.id}.1"} == {line.split()[4] for line in said.splitlines()}


def test_events_are_followed_line_by_line(shared: Cluster) -> None:
    words = ["events", "--follow", "--json", "--kind", "task.cancelled"]
    with subprocess.Popen(
        [*COMMAND, "--home", str(shared.home.root), *words], stdout=subprocess.PIPE, text=True
    ) as following:
        assert following.stdout is not None
        task = shared.client.submit("time:sleep", 300)
        task.cancel(grace_s=0)
        assert task.id == json.loads(following.stdout.readline())["task"]
        following.terminate()


def test_what_cannot_be_asked_of_events_is_one_line(remuda: Typed) -> None:
    done = remuda("events", "--since", "yesterday")
    assert (4, "", 1) == (done.returncode, done.stdout, done.stderr.count("\n"))
    assert "since" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("task", "list", "--node", "nosuch"), "there is no node nosuch, now at least"),
        (("task", "list", "--owner", "nosuch"), "there is no key nosuch, now at least"),
        (("task", "export", "-", "--node", "nosuch"), "there is no node nosuch, now at least"),
        (("task", "export", "-", "--owner", "nosuch"), "0 tasks written to standard output"),
        (("task", "prune", "--node", "nosuch"), "there is no node nosuch, now at least"),
        (("events", "--node", "nosuch"), "there is no node nosuch, now at least"),
    ],
)
def test_nothing_is_found_by_a_name_that_nobody_has_and_that_is_said(
    shared: Cluster, remuda: Typed, words: tuple[str, ...], said: str
) -> None:
    done = remuda(*words)
    assert 0 == done.returncode
    assert said in done.stderr
    assert "nosuch" not in remuda(*words, "-q").stderr


def test_prune_removes_what_has_ended_and_keeps_what_is_open(
    shared: Cluster, remuda: Typed
) -> None:
    ended = shared.client.run(["true"])
    open_task = shared.client.submit("time:sleep", 300)
    done = remuda("task", "prune", ended.task_id, open_task.id)
    assert (0, "") == (done.returncode, done.stderr)
    assert "removed 1 task; 1 task not ended, kept" in done.stdout
    assert 3 == remuda("task", "show", ended.task_id).returncode
    assert open_task.cancel(grace_s=0)


def test_prune_by_filters_asks_above_ten(shared: Cluster, remuda: Typed) -> None:
    light = shared.client.options(name="many", cpus=0.1)
    batch = light.map("math:sqrt", range(12))
    assert 12 == len(list(batch.results(END_S)))
    words = ("task", "prune", "--name", "many", "--state", "succeeded")
    refused = remuda(*words)
    assert (4, "") == (refused.returncode, refused.stdout)
    assert "this would remove 12 tasks: add --yes" in refused.stderr
    assert {"removed": 12, "open": 0, "unknown": 0} == json.loads(
        remuda(*words, "--yes", "--json").stdout
    )


@pytest.mark.parametrize(
    "words", [(), ("last", "--older", "1d"), ("--active",), ("--state", "running")]
)
def test_prune_refuses_what_does_not_say_which_ended_tasks(
    remuda: Typed, words: tuple[str, ...]
) -> None:
    done = remuda("task", "prune", *words)
    assert (4, "", 1) == (done.returncode, done.stdout, done.stderr.count("\n"))


def test_a_key_of_a_pruned_task_does_not_run_it_again(shared: Cluster) -> None:
    once = shared.client.options(once="nightly")
    task = once.submit("math:sqrt", 4)
    assert 2.0 == task.result(END_S)
    assert 1 == shared.client.prune([task])
    again = once.submit("math:sqrt", 4)
    error = again.exception(END_S)
    assert (task.id, "result_expired") == (again.id, getattr(error, "code", ""))
