"""Can an operator take nodes out of work and back, and move the work of those that are off?"""

import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from remuda.client import control
from remuda.client.client import Client
from remuda.protocol.ids import parse_id, to_bytes

from ..fakes.raw import SMALL
from .command_line import DEADLINE_S, CommandLine, stop, wait_until

pytestmark = pytest.mark.cluster

HALF = ("--cpus", "0.5")
OTHER = {"node-1": "node-2", "node-2": "node-1"}
QUICK = {"HEARTBEAT": "500ms", "SUSPECT_AFTER": "1500ms", "LEASE": "30s"}


class Desk(CommandLine):
    """Where an operator types, with a client that looks more quickly than commands do."""

    client: Client

    def node(self, name: str) -> dict[str, Any]:
        return control.list_nodes(self.client.link, name)[0]

    def task(self, task: str) -> dict[str, Any]:
        return control.show_task(self.client.link, to_bytes(parse_id(task)))

    def wait_task(self, task: str, wanted: str) -> dict[str, Any]:
        wait_until(lambda: self.task(task)["state"] == wanted, f"{task} never was {wanted}")
        return self.task(task)

    def wait_node(self, name: str, wanted: str) -> None:
        wait_until(lambda: self.node(name)["state"] == wanted, f"{name} never was {wanted}")


@pytest.fixture(scope="module")
def remuda(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Run two nodes that are soon suspect, but not lost before a minute has passed."""
    made = Desk(tmp_path_factory.mktemp("nodes"))
    made.env |= SMALL | {f"REMUDA_SCHEDULER__{key}": text for key, text in QUICK.items()}
    process = made.cluster(2)
    with Client(made.home.root) as made.client:
        yield made
    assert 0 == stop(process)
    assert [] == made.leftovers()


def running(remuda: Desk, *options: str) -> tuple[str, str]:
    """Submit a command and wait until it runs; return its id and its node."""
    task = remuda.submit(*HALF, *options, "--", "sleep", "300")
    return task, str(remuda.wait_task(task, "running")["node"])


def attempts(remuda: Desk, task: str) -> list[tuple[str, str]]:
    return [(each["node"], each["outcome"]) for each in remuda.task(task)["attempts"]]


@contextmanager
def off(remuda: Desk, node: str) -> Iterator[None]:
    """Freeze an agent as a dead host would be, until it is suspect; then let it go on."""
    pid = remuda.pid(node)
    os.kill(pid, signal.SIGSTOP)
    try:
        remuda.wait_node(node, "suspect")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_drained_node_is_left_alone_over_a_restart_and_its_work_moves_at_the_deadline(
    remuda: Desk,
) -> None:
    task, node = running(remuda, "--retries", "1")
    done = remuda("node", "drain", node, "--reason", "new disk")
    assert (0, f"local: {node} gets no new work; 1 task left there\n") == (
        done.returncode,
        done.stdout,
    )
    assert OTHER[node] == running(remuda, "--tag", "story=drain")[1]

    old = remuda.pid("scheduler")
    remuda.kill("scheduler")
    wait_until(lambda: remuda.pid("scheduler") not in (0, old), "it did not start again")
    remuda.wait_node(node, "draining")
    shown = remuda.json("node", "show", node)
    assert ("new disk", None) == (shown["drain"]["reason"], shown["drain"]["due_at"])
    assert "running" == remuda.task(task)["state"]
    assert f"node {node} is draining (1 task left): new disk" in remuda("status").stdout
    assert 1 == remuda("status", "--check").returncode

    done = remuda("node", "drain", node, "--deadline", "100ms", "--wait")
    assert (0, f"local: {node} is drained") == (done.returncode, done.stdout.splitlines()[-1])
    moved = remuda.wait_task(task, "running")
    assert OTHER[node] == moved["node"]
    assert [node, OTHER[node]] == [where for where, _ in attempts(remuda, task)]
    assert [{"budget": "own", "failures": 0, "retries": 1}] == moved["budgets"]

    assert f"local: {node} gets work again\n" == remuda("node", "undrain", node).stdout
    assert "ready" == remuda.node(node)["state"]
    assert f"local: {node} was not drained\n" == remuda("node", "undrain", node).stdout
    remuda("cancel", "--active", "--yes")


def test_the_wait_for_a_drain_shows_what_is_left_and_ctrl_c_only_stops_looking(
    remuda: Desk,
) -> None:
    task, node = running(remuda)
    process = remuda.start("node", "drain", node, "--wait")
    assert process.stderr is not None
    assert f"1 task left on {node}\n" == process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=DEADLINE_S)
    assert (130, "stopped looking; the drain goes on\n") == (process.returncode, said)
    assert "draining" == remuda.node(node)["state"]

    ours, theirs = pty.openpty()
    process = remuda.start("node", "drain", node, "--wait", stdout=theirs, stderr=theirs)
    said = ""
    while f"1 task left on {node}" not in said:
        said += os.read(ours, 65_536).decode()
    assert "\r\x1b[2K1 task left" in said
    remuda("task", "cancel", task)
    assert 0 == process.wait(DEADLINE_S)
    os.close(theirs)
    os.close(ours)
    remuda("node", "undrain", "node-*")


def test_the_work_of_a_node_that_is_off_moves_at_once_when_somebody_says_so(
    remuda: Desk,
) -> None:
    task, node = running(remuda)
    fenced, _ = running(remuda, "--node", node, "--if-node-lost", "fence")
    with off(remuda, node):
        assert f"`remuda node lost {node}`" in remuda("why", task).stdout
        stopped = remuda.submit(*HALF, "--node", OTHER[node], "--", "sleep", "300")
        refused = remuda("node", "lost", node)
        assert (4, "") == (refused.returncode, refused.stdout)
        assert "holds 2 tasks, which would run twice if it is on: add --yes" in refused.stderr
        assert "suspect" == remuda.node(node)["state"]

        done = remuda("node", "lost", node, "--yes")
        assert (0, f"local: {node} is lost; 2 tasks moved\n") == (done.returncode, done.stdout)
        assert OTHER[node] == remuda.wait_task(task, "running")["node"]
        assert [(node, "lost"), (OTHER[node], "")] == attempts(remuda, task)
        assert ("queued", "lost") == (remuda.task(fenced)["state"],
                                      remuda.node(node)["state"])  # fmt: skip
        assert f"{node} is lost" in remuda("why", fenced).stdout
    remuda.wait_node(node, "ready")
    assert node == remuda.wait_task(fenced, "running")["node"]
    assert [(node, "lost"), (OTHER[node], "")] == attempts(remuda, task)
    remuda("cancel", task, fenced, stopped)


def test_a_cancelled_task_of_a_node_that_is_off_waits_for_the_word_of_a_person(
    remuda: Desk,
) -> None:
    task, node = running(remuda)
    with off(remuda, node):
        remuda("cancel", task)
        assert "waiting for proof that it is gone" in remuda("why", task).stdout
        assert "stopping" == remuda.task(task)["state"]
        assert 0 == remuda("node", "lost", node, "-y").returncode
        remuda.wait_task(task, "cancelled")
    remuda.wait_node(node, "ready")


def test_a_forgotten_node_is_off_the_list_until_it_comes_back(remuda: Desk) -> None:
    remuda("node", "drain", "node-2", "--reason", "old")
    with off(remuda, "node-2"):
        assert 0 == remuda("node", "forget", "node-2").returncode
        assert ["node-1"] == [row["name"] for row in remuda.client.nodes()]
        assert 3 == remuda("node", "show", "node-2").returncode
    wait_until(lambda: len(remuda.client.nodes()) == 2, "node-2 did not come back")
    assert ("ready", {}) == (remuda.node("node-2")["state"],
                               remuda.node("node-2")["drain"])  # fmt: skip


def test_a_node_that_fails_what_its_neighbour_does_well_gets_no_more_work(remuda: Desk) -> None:
    def ends_as(script: str, wanted: str, *more: str) -> list[dict[str, Any]]:
        task = remuda.submit("--cpus", "0.1", *more, "--", "sh", "-c", script)
        attempts: list[dict[str, Any]] = remuda.wait_task(task, wanted)["attempts"]
        return attempts

    broken = ends_as("true", "succeeded")[0]["node"]
    script = f'test "$REMUDA_NODE" != {broken} || exit'
    assert [broken] == [each["node"] for each in ends_as(f"{script} 1", "failed")]
    again = ("--retries", "1")
    for number in (2, 3):
        nodes = [each["node"] for each in ends_as(f"{script} {number}", "succeeded", *again)]
        assert [broken, OTHER[broken]] == nodes
    remuda.wait_node(broken, "drained")
    assert "black hole: 3 different tasks in a row failed fast here" in remuda("status").stdout
    told = remuda.json("events", "--kind", "node.black_hole")
    assert [broken] == [each["node"] for each in told]
    assert OTHER[broken] == ends_as("true", "succeeded")[0]["node"]
    assert 0 == remuda("node", "undrain", broken).returncode
    remuda.wait_node(broken, "ready")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("drain",), 2, "NODE"),
        (("drain", "nope"), 3, "there is no node nope"),
        (("undrain", "x-*"), 3, "there is no node x-*"),
        (("drain", "node-1", "--deadline", "soon"), 4, "--deadline"),
        (("drain", "node-1", "--reason", "x" * 501), 4, "reason"),
        (("lost", "node-1", "--yes"), 1, "node-1 was heard"),
        (("forget", "node-1"), 1, "node-1 was heard"),
    ],
)
def test_what_cannot_be_done_to_a_node_is_one_line_with_its_exit_code(
    remuda: Desk, words: tuple[str, ...], code: int, said: str
) -> None:
    done: subprocess.CompletedProcess[Any] = remuda("node", *words)
    assert (code, "", 1) == (done.returncode, done.stdout, done.stderr.count("\n"))
    assert said in done.stderr
