"""Is a changed configuration confirmed by real nodes, refused where it must be, and never lost?"""

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from remuda.client.client import Client
from remuda.protocol.errors import Conflict

from ..fakes.raw import SMALL
from .command_line import CommandLine, admit, stop, wait_until

pytestmark = pytest.mark.cluster

QUICK = {"heartbeat": "500ms", "suspect_after": "1500ms"}


class Desk(CommandLine):
    """Where an operator types, with a client beside."""

    client: Client

    def state(self) -> dict[str, Any]:
        return self.client.config.state()

    def behind(self) -> dict[str, str]:
        return {each["name"]: each["state"] for each in self.state()["behind"]}

    def wait_confirmed(self) -> None:
        wait_until(lambda: self.behind() == {}, f"not confirmed by all: {self.state()}")

    def write(self, text: str) -> None:
        timers = "\n".join(f'{key} = "{value}"' for key, value in QUICK.items())
        self.home.config_file.write_text(f"[scheduler]\n{timers}\n{text}")


@pytest.fixture(scope="module")
def remuda(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Run two nodes that are soon suspect."""
    made = Desk(tmp_path_factory.mktemp("configured"))
    made.env |= SMALL
    made.home.create()
    made.write("")
    process = made.cluster(2)
    with Client(made.home.root) as made.client:
        made.wait_confirmed()
        yield made
    assert 0 == stop(process)
    assert [] == made.leftovers()


@contextmanager
def frozen(remuda: Desk, node: str) -> Iterator[None]:
    """Freeze an agent as a dead host would be, until it is away."""
    pid = remuda.pid(node)
    os.kill(pid, signal.SIGSTOP)
    try:
        row = lambda: remuda.client.nodes()
        wait_until(
            lambda: {"suspect"} == {each["state"] for each in row() if each["name"] == node},
            f"{node} never was suspect",
        )
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_change_is_confirmed_by_every_node_and_seen_in_what_each_goes_by(remuda: Desk) -> None:
    done = remuda("config", "set", "node.labels.rack", "r7")
    assert (0, "") == (done.returncode, done.stderr)
    assert "confirmed by all 2 nodes" in done.stdout
    for node in ("node-1", "node-2"):
        (row,) = remuda.json("config", "show", "--node", node, "node.labels")
        assert ("r7", "changed") == (row["value"], row["layer"])
    assert [{"rack": "r7"}] * 2 == [each["labels"] for each in remuda.client.nodes()]
    task = remuda.submit("--node-label", "rack=r7", "--wait", "--", "true")
    assert "succeeded" == remuda.json("task", "show", task)["state"]


def test_a_change_for_one_node_reaches_no_other(remuda: Desk) -> None:
    key = "node.foreign_processes"
    assert 0 == remuda("config", "set", "--node", "node-1", key, "avoid").returncode
    found = [remuda("config", "get", "--node", n, key).stdout for n in ("node-1", "node-2")]
    assert ["avoid\n", "share\n"] == found


def test_what_is_not_valid_changes_nothing_and_says_why(remuda: Desk) -> None:
    before = remuda.state()["version"]
    done = remuda("config", "set", "scheduler.lease", "1ms")
    assert (4, "") == (done.returncode, done.stdout)
    assert "scheduler.lease: found '1ms'; it must be at least" in done.stderr
    assert before == remuda.state()["version"]


def test_what_a_file_of_the_node_says_more_strongly_is_refused(remuda: Desk) -> None:
    done = remuda("config", "set", "--node", "node-1", "node.cpus", "3")
    assert 4 == done.returncode
    assert "node.cpus is set on node-1 by" in done.stderr
    assert "node-1.toml" in done.stderr


def test_a_node_that_was_away_converges_when_it_comes_back(remuda: Desk) -> None:
    with frozen(remuda, "node-2"):
        done = remuda("config", "set", "node.runner_idle", "33s")
        assert 0 == done.returncode
        assert "confirmed by 1 of 2 nodes and the store\n" in done.stdout
        assert "node-2: away" in done.stdout
    remuda.wait_confirmed()
    idle = lambda: remuda("config", "get", "--node", "node-2", "node.runner_idle").stdout
    wait_until(lambda: idle() == "33s\n", "node-2 never said what it goes by")


def test_an_agent_that_is_killed_goes_by_the_changes_when_it_starts(remuda: Desk) -> None:
    remuda.client.config.set("node.transfers", 7, node="node-1")
    (row,) = remuda.json("config", "show", "--node", "node-1", "node.transfers")
    assert (7, "node") == (row["value"], row["restart"])
    remuda.kill("node-1")

    def is_back() -> bool:
        (row,) = remuda.json("config", "show", "--node", "node-1", "node.transfers")
        return (row["value"], row["restart"]) == (7, None)

    wait_until(is_back, "node-1 never said that it goes by what waited for a restart")


def test_a_killed_scheduler_keeps_what_was_changed(remuda: Desk) -> None:
    assert 0 == remuda("config", "set", "scheduler.lease", "20s").returncode
    version, pid = remuda.state()["version"], remuda.pid("scheduler")
    remuda.kill("scheduler")
    wait_until(lambda: remuda.pid("scheduler") not in (0, pid), "the scheduler did not come back")
    remuda.wait_confirmed()
    assert (version, "20s\n") == (
        remuda.state()["version"],
        remuda("config", "get", "scheduler.lease").stdout,
    )


def test_a_bad_file_and_a_hangup_change_nothing_and_a_good_one_is_taken(remuda: Desk) -> None:
    before = remuda.state()["version"]
    pid = remuda.pid("scheduler")
    remuda.write('offer_tries = "many"\n')
    os.kill(pid, signal.SIGHUP)

    def problems() -> str:
        return " ".join(remuda.client.status()["problems"])

    wait_until(lambda: "the last reload changed nothing" in problems(), "no word of the bad file")
    assert "remuda.toml:4: scheduler.offer_tries: found 'many'" in problems()
    assert (before, "3\n") == (
        remuda.state()["version"],
        remuda("config", "get", "scheduler.offer_tries").stdout,
    )
    remuda.write("offer_tries = 2\n")
    assert 1 == remuda("config", "diff").returncode
    os.kill(pid, signal.SIGHUP)
    wait_until(lambda: remuda.state()["version"] == before + 1, "the good file was not taken")
    assert "SIGHUP" == remuda.state()["author"]
    wait_until(lambda: "reload" not in problems(), "the trouble is not over")
    assert "2\n" == remuda("config", "get", "scheduler.offer_tries").stdout
    assert pid == remuda.pid("scheduler")


def test_a_reload_reads_the_files_of_all_and_is_confirmed(remuda: Desk) -> None:
    remuda.write("offer_tries = 4\n")
    done = remuda("config", "reload")
    assert (0, "") == (done.returncode, done.stderr)
    assert "scheduler.offer_tries: " in done.stdout
    assert "confirmed by all 2 nodes" in done.stdout


def test_a_rollback_goes_back_and_is_in_the_history_and_the_audit(remuda: Desk) -> None:
    remuda.client.config.set("placement.policy", "spread")
    done = remuda("config", "rollback", "--json")
    answer = json.loads(done.stdout)
    assert ("placement.policy", '"pack"') == (
        answer["changed"][0]["key"],
        answer["changed"][0]["after"],
    )
    newest = next(iter(remuda.client.config.history()))
    assert f"rollback to {answer['version'] - 2}" == newest["cause"]
    rows = remuda.client.config.diff(answer["version"] - 1, answer["version"])
    assert ["placement.policy"] == [row["key"] for row in rows]


def test_of_two_operators_at_once_who_saw_the_same_version_one_is_refused(remuda: Desk) -> None:
    seen = remuda.state()["version"]

    def change(seconds: int) -> str:
        with Client(remuda.home.root) as mine:
            try:
                mine.config.set("scheduler.warm_wait", f"{seconds}s", if_version=seen, wait=False)
            except Conflict as error:
                return error.message
        return "done"

    with ThreadPoolExecutor(2) as pool:
        first, second = sorted(pool.map(change, (31, 32)))
    assert "done" == first
    assert f"is at version {seen + 1} (set by" in second


def test_who_may_only_submit_reads_and_changes_nothing(remuda: Desk) -> None:
    person = admit(remuda, "sue", "submit")
    assert 0 == person("config", "show", "scheduler.port").returncode
    done = person("config", "set", "scheduler.lease", "21s")
    assert 4 == done.returncode
    assert "may not change the configuration" in done.stderr


def test_a_node_whose_own_file_contradicts_a_change_refuses_it_and_is_named(tmp_path) -> None:
    remuda = Desk(tmp_path)
    remuda.env |= SMALL
    process, _ = remuda.up("--nodes", "2")  # with files of its nodes here, to be edited
    with Client(remuda.home.root) as remuda.client:
        file = remuda.home.run_dir / "node-1.toml"
        own = '[node]\noutput_max = "64MiB"'
        file.write_text(file.read_text().replace("[node]", own))
        assert 0 == remuda("config", "reload").returncode
        done = remuda("config", "set", "tasks.output_max", "128MiB")
        assert 1 == done.returncode
        assert "node-1: refused: " in done.stdout
        assert "tasks.output_max must be at most node.output_max" in done.stdout
        assert "128MiB\n" == remuda("config", "get", "--node", "node-2", "tasks.output_max").stdout
        assert "64MiB\n" == remuda("config", "get", "--node", "node-1", "tasks.output_max").stdout
        assert "refuses" in remuda("status").stdout
        assert 0 == remuda("config", "rollback").returncode
    assert 0 == stop(process)
