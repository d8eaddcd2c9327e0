"""Do the units do under a real systemd what they are there for?"""

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import apsw
import pytest

from remuda.scheduler.task import State

from ..fakes.raw import wait_for
from ..fakes.systemd_host import SystemdHost, systemd_host, why_not

pytestmark = pytest.mark.cluster
PORT = 17_700
SETTINGS = f'[scheduler]\nport = {PORT}\nballast = "1MiB"\n[node]\nname = "n1"\n'
UNITS = ("remuda-scheduler", "remuda-store", "remuda-node")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SystemdHost]:
    """Install a scheduler and a node on a host, as its admin would."""
    folder = tmp_path_factory.mktemp("systemd")
    if reason := why_not(folder):
        pytest.skip(f"no systemd of our own here: {reason}")
    with systemd_host(folder) as host:
        host.run(f"mkdir -p /var/lib/remuda; printf '{SETTINGS}' > /var/lib/remuda/remuda.toml")
        host.run("/opt/remuda/bin/remuda install scheduler")
        line = host.remuda("key invite --role node --name n1").splitlines()[0]
        host.run(f"/opt/remuda/bin/remuda install node --join {line}")
        yield host


def pid_of(host: SystemdHost, unit: str) -> int:
    return int(host.show(unit, "MainPID"))


def state_of(host: SystemdHost, task: str) -> str:
    found: str = json.loads(host.remuda(f"task show {task} --json"))["state"]
    return found


def tries_of(host: SystemdHost, task: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(host.remuda(f"task show {task} --json"))["attempts"]
    return found


def submit(host: SystemdHost, command: str) -> str:
    return host.remuda(f"submit -q -- {command}").split()[-1]


def test_installed_services_are_ready_hardened_and_say_how_they_are(host: SystemdHost) -> None:
    assert ["active"] * 3 == [host.show(unit, "ActiveState") for unit in UNITS]
    wait_for(lambda: "registered at" in host.show("remuda-node", "StatusText"), "the node's words")
    wait_for(lambda: "1 of 1 nodes" in host.show("remuda-scheduler", "StatusText"), "its words")
    assert ["yes"] * 3 == [host.show(unit, "NoNewPrivileges") for unit in UNITS]


def test_a_second_installation_changes_nothing(host: SystemdHost) -> None:
    done = host.run("/opt/remuda/bin/remuda install node --join remuda1_other")
    assert "nothing to do: the node is installed\n" == done.stdout


def test_a_task_outlives_the_restart_of_its_agent(host: SystemdHost) -> None:
    task = submit(host, "sh -c 'until [ -e /run/lock/go ]; do sleep 0.1; done; echo done'")
    wait_for(lambda: state_of(host, task) == "running", "the task to run")
    before = pid_of(host, "remuda-node")
    host.run("systemctl restart remuda-node")
    assert before != pid_of(host, "remuda-node")
    assert "running" == state_of(host, task)
    host.run("touch /run/lock/go")
    wait_for(lambda: state_of(host, task) == "succeeded", "the task's end")
    assert "done\n" == host.remuda(f"logs {task}")


def test_a_reload_of_the_store_has_it_read_its_files_again(host: SystemdHost) -> None:
    before = pid_of(host, "remuda-store")
    host.run("printf '[store]\\nquota = \"3GiB\"\\n' > /var/lib/remuda/quota.toml")
    host.run("systemctl reload remuda-store")
    quota = lambda: json.loads(host.remuda("store status --json"))["quota_bytes"]
    wait_for(lambda: quota() == 3 << 30, "the new quota")
    assert (before, "active") == (
        pid_of(host, "remuda-store"),
        host.show("remuda-store", "ActiveState"),
    )


def test_a_frozen_scheduler_is_started_again_by_the_watchdog(host: SystemdHost) -> None:
    folder = "/run/systemd/system/remuda-scheduler.service.d"
    host.run(f"mkdir -p {folder}; printf '[Service]\\nWatchdogSec=2\\n' > {folder}/soon.conf")
    host.run("systemctl daemon-reload; systemctl restart remuda-scheduler")
    before = pid_of(host, "remuda-scheduler")
    host.run(f"kill -STOP {before}")
    wait_for(lambda: pid_of(host, "remuda-scheduler") not in (0, before), "another scheduler")
    wait_for(lambda: host.show("remuda-scheduler", "ActiveState") == "active", "its readiness")
    host.run(f"rm {folder}/soon.conf; systemctl daemon-reload; systemctl restart remuda-scheduler")


def test_commands_run_as_users_of_their_own_once_the_node_is_told_so(host: SystemdHost) -> None:
    task = submit(host, "true")
    owner = json.loads(host.remuda(f"task show {task} --json"))["owner"]
    host.run("useradd --create-home alice")
    done = host.run(f"/opt/remuda/bin/remuda install node --run-as {owner}=alice").stdout
    assert "/etc/remuda-run-as.toml" in done
    host.run("systemctl restart remuda-node")
    wait_for(lambda: "registered at" in host.show("remuda-node", "StatusText"), "the node's words")
    line = "id -un; id -G; grep NoNewPrivs /proc/self/status; touch /etc/x; setsid sleep 600 & :"
    said = host.remuda(f"run -- sh -c '{line}'").splitlines()
    ids = host.run("id -G alice").stdout.strip()
    assert ["alice", ids, "NoNewPrivs:\t1"] == [line for line in said if "touch" not in line]
    assert "" == host.run("pgrep -u alice || true").stdout


def test_such_a_command_outlives_its_agent_and_not_its_helper(host: SystemdHost) -> None:
    task = submit(host, "sh -c 'trap : TERM; touch up; while :; do sleep 1; done'")
    wait_for(lambda: state_of(host, task) == "running", "the task to run")
    host.run("systemctl restart remuda-node")
    wait_for(lambda: state_of(host, task) == "running", "the task to run on")
    host.run("systemctl kill --signal=KILL --kill-whom=main 'remuda-run-as@*'")
    wait_for(lambda: len(tries_of(host, task)) > 1, "another try")
    assert "node_lost" == tries_of(host, task)[0]["code"]
    host.remuda(f"cancel {task} --yes")
    wait_for(lambda: state_of(host, task) == "cancelled", "its cancel")
    assert "" == host.run("pgrep -u alice || true").stdout


def test_a_host_that_goes_down_hands_its_tasks_back(host: SystemdHost) -> None:
    task = submit(host, "sleep 3600")
    wait_for(lambda: state_of(host, task) == "running", "the task to run")
    host.run("systemctl --no-block poweroff")
    host.wait_off()
    assert '"hand_back": true' in (host.kept / "logs/node.log").read_text()
    with closing(apsw.Connection(str(host.kept / "remuda/state/scheduler/journal.db"))) as db:
        ((state, charged),) = db.execute(
            "SELECT state, charged FROM tasks ORDER BY number DESC LIMIT 1"
        )
        (outcome,) = next(db.execute("SELECT outcome FROM attempts ORDER BY task DESC, number"))
    assert (int(State.QUEUED), 0, "returned") == (state, charged, outcome)
