"""Does the supervisor start daemons, restart what ends, and stop all of it?"""

import os
import signal
import socket
import time
from pathlib import Path

import pytest

from remuda.cli import daemons
from remuda.cli.daemons import Daemon
from remuda.cli.processes import catches, open_process
from remuda.cli.supervisor import RESTART_FIRST_S, Supervisor

DEADLINE_S = 10.0


def daemon(folder: Path, name: str, *argv: str) -> Daemon:
    return Daemon(name, argv, folder, folder / f"{name}.pid", folder / f"{name}.log")


@pytest.fixture(autouse=True)
def quick_stop(monkeypatch) -> None:
    """Do not wait for the signal handlers that these stand-ins never install."""
    monkeypatch.setattr(daemons, "HANDLER_WAIT_S", 0.05)
    monkeypatch.setattr(daemons, "NODE_HANDLER_WAIT_S", 0.05)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def supervisor(told: list[str]):
    reader, writer = socket.socketpair()
    made = Supervisor(told.append, reader.fileno())
    yield made
    made.stop()
    reader.close()
    writer.close()


def turn_until(supervisor: Supervisor, condition) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        supervisor.turn(0.05)


def pid_of(path: Path) -> int:
    found = open_process(path)
    if found is None:
        return 0
    found.close()
    return found.pid


def test_a_daemon_runs_in_a_session_of_its_own_and_logs_to_its_file(tmp_path, supervisor) -> None:
    sleeper = daemon(tmp_path, "node-1", "sh", "-c", "echo here; exec sleep 60")
    supervisor.start([sleeper], {})
    pid = pid_of(sleeper.pid_file)
    assert pid == os.getsid(pid)
    turn_until(supervisor, lambda: sleeper.log_file.read_text() == "here\n")


def test_a_killed_daemon_starts_again(tmp_path, supervisor, told) -> None:
    sleeper = daemon(tmp_path, "node-1", "sleep", "60")
    supervisor.start([sleeper], {})
    first = pid_of(sleeper.pid_file)
    os.kill(first, signal.SIGKILL)
    turn_until(supervisor, lambda: pid_of(sleeper.pid_file) not in (0, first))
    assert [f"node-1 ended (signal 9): starts again in {RESTART_FIRST_S:g} s"] == told


def test_restarts_back_off_and_a_hopeless_daemon_is_named(tmp_path, supervisor, told) -> None:
    supervisor.start([daemon(tmp_path, "node-1", "sh", "-c", "exit 3")], {})
    turn_until(supervisor, lambda: supervisor.hopeless(3) is not None)
    assert ["0.2 s", "0.4 s", "0.8 s"] == [line.rpartition(" in ")[2] for line in told]
    assert all("exit code 3" in line for line in told)


def test_a_daemon_that_still_runs_is_adopted_and_restarted_like_others(
    tmp_path, supervisor, told
) -> None:
    sleeper = daemon(tmp_path, "node-1", "sleep", "60")
    orphan = daemons.start(sleeper)
    supervisor.start([sleeper], daemons.running(tmp_path))
    assert orphan.pid == pid_of(sleeper.pid_file)
    orphan.send(signal.SIGKILL)
    orphan.reap()
    turn_until(supervisor, lambda: pid_of(sleeper.pid_file) not in (0, orphan.pid))
    assert f"adopted node-1, which still ran (pid {orphan.pid})" == told[0]


def test_stop_ends_all_and_removes_the_pid_files(tmp_path, supervisor, told) -> None:
    both = [daemon(tmp_path, name, "sleep", "60") for name in ("scheduler", "node-1")]
    supervisor.start(both, {})
    supervisor.stop()
    assert [0, 0] == [pid_of(each.pid_file) for each in both]
    assert [] == list(tmp_path.glob("*.pid"))


def test_a_node_that_is_slow_to_start_is_not_ended_before_it_can_end_its_work(
    tmp_path, told, monkeypatch
) -> None:
    monkeypatch.setattr(daemons, "NODE_HANDLER_WAIT_S", DEADLINE_S)
    wait = f"until test -e {tmp_path}/go; do sleep 0.01; done"
    hand_back = "trap 'echo handed back; exit' USR2; while :; do sleep 0.05; done"
    node = daemon(tmp_path, "node-1", "bash", "-c", f"{wait}; {hand_back}")
    polls = iter(range(20))

    def slowly(pid: int, number: signal.Signals) -> bool:
        if next(polls, None) is None:  # it has waited longer than for the others
            (tmp_path / "go").touch()
        return catches(pid, number)

    monkeypatch.setattr(daemons, "catches", slowly)
    daemons.stop({}, [node], told.append)
    assert "handed back\n" == node.log_file.read_text()


def test_running_finds_what_lives_and_forgets_what_does_not(tmp_path) -> None:
    live = daemons.start(daemon(tmp_path, "node-1", "sleep", "60"))
    dead = daemons.start(daemon(tmp_path, "node-2", "true"))
    assert dead.wait_end(DEADLINE_S)
    dead.reap()
    found = daemons.running(tmp_path)
    assert ["node-1"] == list(found)
    assert not (tmp_path / "node-2.pid").exists()
    found["node-1"].send(signal.SIGKILL)
    found["node-1"].close()
    live.reap()


def test_a_large_log_is_moved_aside_and_the_oldest_goes(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(daemons, "LOG_BYTES_MAX", 4)
    log = tmp_path / "node-1.log"
    for text in ("first", "second", "third", "fourth", "fifth"):
        log.write_text(text)
        daemons.rotate(log)
    kept = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert {"node-1.log.1": "fifth", "node-1.log.2": "fourth", "node-1.log.3": "third"} == kept


def test_the_last_line_of_a_log_says_why(tmp_path) -> None:
    (tmp_path / "x.log").write_text("one\ntwo\n\n")
    assert "two" == daemons.last_line(tmp_path / "x.log")
    assert "" == daemons.last_line(tmp_path / "none.log")
