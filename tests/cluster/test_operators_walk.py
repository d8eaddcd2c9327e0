"""Can one operator do a life's work with a cluster, by nothing but commands?

The tests follow one cluster from a fresh host on: daemons as services start them, two nodes joined
by lines, keys that are replaced, a node drained and upgraded while work runs, a setting changed and
taken back, the audit of it all, and a backup that begins a new life on another host.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remuda.cli import ports
from remuda.config.home import Home
from remuda.config.invitation import from_line

from .command_line import DEADLINE_S, wait_until
from .newcomers import Host

pytestmark = pytest.mark.cluster

NODES = ("gpu-1", "gpu-2")
QUICK = '[scheduler]\nheartbeat = "500ms"\nsuspect_after = "1500ms"\n'


class Cluster:
    """The scheduler's host, the hosts of its nodes, and the desk of an operator who logged in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = ports.free_control_port("127.0.0.1", 2, random.SystemRandom())
        self.server = Host(folder / "server")
        self.nodes = {name: Host(folder / name) for name in NODES}
        self.desk = Host(folder / "desk")
        self.daemons: list[subprocess.Popen[str]] = []

    def serve(self, host: Host) -> None:
        """Start scheduler and store on a host, as its services would."""
        home = Home(host.home)
        home.create()
        home.config_file.write_text(f'{QUICK}port = {self.port}\n[cluster]\nname = "lab"\n')
        for daemon in ("scheduler", "store"):
            argv = [sys.executable, "-P", "-m", f"remuda.{daemon}", "--home", str(host.home)]
            with (host.folder / f"{daemon}.log").open("ab") as log:
                self.daemons.append(
                    subprocess.Popen(argv, env=host.env, cwd="/", stderr=log, text=True)
                )
        wait_until(
            lambda: self.admin(host, "status", "--quiet").returncode == 0,
            "the scheduler never answered",
        )

    def end_serving(self) -> None:
        """Let the scheduler's host die."""
        for daemon in self.daemons:
            daemon.kill()
            daemon.wait(DEADLINE_S)
        self.daemons.clear()

    def admin(self, host: Host, *words: str) -> subprocess.CompletedProcess[str]:
        """Type a command on the scheduler's host, where the first admin's key lies."""
        return host.remuda(*words, "--home", str(host.home))

    def operator(self, *words: str) -> str:
        """Type a command at the desk and return what it printed."""
        done = self.desk.remuda(*words)
        assert 0 == done.returncode, done.stderr
        return done.stdout

    def table(self, *words: str) -> Any:
        return json.loads(self.operator(*words, "--json"))

    def states(self) -> dict[str, str]:
        return {row["name"]: row["state"] for row in self.table("node", "list")}

    def wait_states(self, **wanted: str) -> None:
        expected = {name.replace("_", "-"): state for name, state in wanted.items()}
        wait_until(lambda: self._living() == expected, f"never {expected}")

    def _living(self) -> dict[str, str]:
        """Return the states of the nodes, whose agents must all run."""
        ended = {
            name: host for name, host in self.nodes.items() if host.agents[-1].poll() is not None
        }
        logs = "\n".join(f"{name}:\n{host.log()[-4_000:]}" for name, host in ended.items())
        assert not ended, f"agents ended: {logs}"
        return self.states()

    def task(self, task: str) -> dict[str, Any]:
        return dict(self.table("task", "show", task))

    def wait_task(self, task: str, state: str) -> dict[str, Any]:
        wait_until(lambda: self.task(task)["state"] == state, f"{task}: {self.task(task)}")
        return self.task(task)

    def close(self) -> None:
        for host in self.nodes.values():
            host.close()
        self.end_serving()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("walk"))
    yield made
    made.close()


def invited(lab: Cluster, *words: str) -> str:
    """Return the line of an invitation that the first admin makes."""
    done = lab.admin(lab.server, "key", "invite", *words, "--quiet")
    assert 0 == done.returncode, done.stderr
    line = done.stdout.split()[-1]
    assert from_line(line).endpoint
    return line


def test_a_fresh_host_becomes_a_scheduler_and_is_found_well(lab: Cluster) -> None:
    lab.serve(lab.server)
    found = json.loads(lab.admin(lab.server, "doctor", "--json").stdout)
    serious = [row for row in found if row["level"] == "serious"]
    assert [] == serious
    assert {"this host", f"scheduler ({lab.server.home})"} <= {row["part"] for row in found}


def test_two_hosts_join_by_lines_and_an_operator_logs_in(lab: Cluster) -> None:
    for name, host in lab.nodes.items():
        host.start(line=invited(lab, "--role", "node", "--name", name))
    line = invited(lab, "--role", "admin", "--name", "anna")
    assert 0 == lab.desk.remuda("login", line).returncode
    lab.wait_states(gpu_1="ready", gpu_2="ready")
    assert 0 == lab.desk.remuda("run", "--", "true").returncode


def test_a_key_is_replaced_and_the_old_one_opens_nothing(lab: Cluster) -> None:
    before = Host(lab.folder / "before")
    before.remuda("login", invited(lab, "--role", "submit", "--name", "ben"))
    assert 0 == before.remuda("status").returncode
    assert "ben" in lab.operator("key", "revoke", "ben")
    assert 0 != before.remuda("status").returncode
    after = Host(lab.folder / "after")
    assert (
        0 == after.remuda("login", invited(lab, "--role", "submit", "--name", "ben-2")).returncode
    )
    assert 0 == after.remuda("run", "--", "true").returncode


def test_a_node_is_drained_and_upgraded_while_work_runs(lab: Cluster) -> None:
    gate = lab.folder / "gate"
    wait = f"while [ ! -e {gate} ]; do sleep 0.05; done"
    stays = lab.operator("submit", "-q", "--node", "gpu-1", "--", "sh", "-c", wait).strip()
    lab.wait_task(stays, "running")
    lab.operator("node", "drain", "gpu-1", "--reason", "a new release")
    lab.wait_states(gpu_1="draining", gpu_2="ready")
    meanwhile = lab.operator("submit", "-q", "--wait", "--", "hostname").split()[0]
    assert "gpu-2" == lab.task(meanwhile)["node"]
    agent = lab.nodes["gpu-1"].agents[-1]
    agent.send_signal(signal.SIGTERM)  # as a service is restarted with its new code
    agent.wait(DEADLINE_S)
    lab.nodes["gpu-1"].start()
    wait_until(lambda: lab.states()["gpu-1"] == "draining", "the new agent never came")
    gate.touch()
    ended = lab.wait_task(stays, "succeeded")
    assert (1, "gpu-1") == (len(ended["attempts"]), ended["node"])
    lab.wait_states(gpu_1="drained", gpu_2="ready")
    lab.operator("node", "undrain", "gpu-1")
    lab.wait_states(gpu_1="ready", gpu_2="ready")


def test_a_setting_is_refused_changed_confirmed_and_taken_back(lab: Cluster) -> None:
    refused = lab.desk.remuda("config", "set", "scheduler.suspect_after", "1ms")
    assert 0 != refused.returncode
    assert "suspect_after" in refused.stderr
    assert "confirmed by all 2 nodes" in lab.operator("config", "set", "node.labels.rack", "r7")
    labels = [row["labels"] for row in lab.table("node", "list")]
    wait_until(
        lambda: [{"rack": "r7"}] * 2 == [row["labels"] for row in lab.table("node", "list")],
        f"the nodes never had the label: {labels}",
    )
    lab.operator("config", "rollback")
    assert "rack" not in lab.operator("config", "show", "node.labels")
    history = lab.table("config", "history")
    assert {"anna"} <= {row["author"] for row in history}


def test_what_was_done_stands_in_the_audit(lab: Cluster) -> None:
    rows = lab.table("audit")
    done = {(row["principal"], row["verb"]) for row in rows}
    assert {("anna", "node drain"), ("anna", "config set")} <= done
    assert 0 == lab.desk.remuda("audit", "--verify").returncode


def test_a_backup_begins_a_new_life_on_another_host(lab: Cluster) -> None:
    ended = lab.operator("submit", "-q", "--wait", "--", "true").split()[0]
    file = lab.folder / "lab.backup"
    done = lab.admin(lab.server, "backup", str(file), "--with-keys")
    assert 0 == done.returncode, done.stderr
    lab.end_serving()
    other = Host(lab.folder / "other")
    restored = other.remuda("restore", str(file), "--home", str(other.home))
    assert 0 == restored.returncode, restored.stderr
    lab.serve(other)
    lab.wait_states(gpu_1="ready", gpu_2="ready")
    assert "succeeded" == lab.task(ended)["state"]
    released = lab.admin(other, "recovery", "release")
    assert 0 == released.returncode, released.stderr
    assert 0 == lab.desk.remuda("run", "--", "true").returncode
    assert 0 == lab.desk.remuda("audit", "--verify").returncode
