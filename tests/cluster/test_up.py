"""Does `remuda up` bring a cluster up, keep it up, and take it down, whatever is killed?"""

import os
import signal
import stat
import subprocess

import pytest

from .command_line import DEADLINE_S, CommandLine, stop, wait_until

pytestmark = pytest.mark.cluster


@pytest.fixture
def remuda(tmp_path):
    made = CommandLine(tmp_path)
    yield made
    made("down")
    assert [] == made.leftovers()


def test_up_says_ready_once_tasks_can_be_submitted_and_ends_cleanly(remuda: CommandLine) -> None:
    process, line = remuda.up("--nodes", "2")
    assert ["ready", "local"] == line.split()[:2]
    assert line.rstrip().endswith(f"2 nodes home={remuda.home.root}")
    names = [row["name"] for row in remuda.json("node", "list") if row["state"] == "ready"]
    assert ["node-1", "node-2"] == names
    assert 0 == stop(process)
    assert [] == remuda.leftovers()
    assert 5 == remuda("status").returncode


def test_keys_are_readable_by_their_owner_alone(remuda: CommandLine) -> None:
    process, _ = remuda.up()
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in remuda.home.keys_dir.iterdir()
    }
    made = {"scheduler.key", "client.key", "node-node-1.key", "authorized", "store-secret"}
    assert made == set(modes) - {"store.key"}
    assert {0o600} == set(modes.values())
    assert 0o700 == stat.S_IMODE(remuda.home.root.stat().st_mode)
    stop(process)


def test_a_second_up_refuses_and_names_down(remuda: CommandLine) -> None:
    process, _ = remuda.up()
    second = remuda("up")
    assert (4, "") == (second.returncode, second.stdout)
    assert f"remuda down --home {remuda.home.root}" in second.stderr
    assert 1 == second.stderr.count("\n")
    assert 0 == stop(process)


def test_a_port_that_is_asked_for_is_the_control_port(remuda: CommandLine) -> None:
    import random

    from remuda.cli.ports import free_control_port

    port = free_control_port("127.0.0.1", 1, random.Random())
    process, line = remuda.up("--port", str(port))
    assert f"tcp://127.0.0.1:{port}" == line.split()[2]
    stop(process)


def test_a_port_in_use_is_refused(remuda: CommandLine) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = remuda("up", "--port", str(taken.getsockname()[1]))
    assert (4, True) == (done.returncode, "is in use" in done.stderr)


def test_tasks_get_the_path_of_up_and_functions_its_directory(remuda: CommandLine) -> None:
    (remuda.folder / "here.py").write_text("def where():\n    return __file__\n")
    remuda.env["PATH"] += ":/a/place/of/its/own"
    process, _ = remuda.up()
    assert remuda("run", "sh", "-c", "echo $PATH").stdout.rstrip().endswith("/a/place/of/its/own")
    assert str(remuda.folder / "here.py") == remuda("call", "here:where").stdout.rstrip()
    stop(process)


@pytest.mark.parametrize("daemon", ["scheduler", "store", "node-1"])
def test_a_daemon_that_is_killed_starts_again(remuda: CommandLine, daemon: str) -> None:
    process, _ = remuda.up()
    first = remuda.pid(daemon)
    remuda.kill(daemon)
    wait_until(lambda: remuda.pid(daemon) not in (0, first), f"{daemon} did not start again")
    done = remuda("run", "echo", "back")
    assert (0, "back\n") == (done.returncode, done.stdout)
    stop(process)


def test_the_end_hands_tasks_back_uncharged_and_they_run_again(remuda: CommandLine) -> None:
    process, _ = remuda.up("--nodes", "2")
    task = remuda.submit("--", "sh", "-c", "test -e again && exit 7; touch again; sleep 300")
    remuda.wait_state(task, "running")
    assert 0 == stop(process)  # long before that sleep is over
    assert [] == remuda.leftovers()
    process, _ = remuda.up()  # what node-1 handed back must not have gone to node-2 on its way out
    shown = remuda.wait_state(task, "running", "failed")
    assert "returned" == shown["attempts"][0]["outcome"]
    assert shown["attempts"][-1]["number"] >= 2
    stop(process)


def test_daemons_survive_the_death_of_up_and_a_new_up_adopts_them(remuda: CommandLine) -> None:
    process, line = remuda.up()
    task = remuda.submit("--", "sleep", "300")
    remuda.wait_state(task, "running")
    before = [remuda.pid(name) for name in ("scheduler", "node-1")]
    process.kill()
    process.communicate()
    assert 0 == remuda("run", "true").returncode
    again, line_again = remuda.up()
    assert line == line_again
    assert before == [remuda.pid(name) for name in ("scheduler", "node-1")]
    assert "running" == remuda.json("task", "show", task)["state"]
    remuda.kill("node-1")
    wait_until(lambda: remuda.pid("node-1") not in (0, before[1]), "it was not restarted")
    assert 0 == stop(again)


def test_down_finds_daemons_whose_up_was_killed(remuda: CommandLine) -> None:
    process, _ = remuda.up("--nodes", "2")
    process.kill()
    process.communicate()
    done = remuda("down")
    assert (0, f"stopped the scheduler, the store and 2 nodes in {remuda.home.root}\n") == (
        done.returncode,
        done.stdout,
    )
    assert [] == remuda.leftovers()


def test_down_ends_work_whose_agent_is_dead_too(remuda: CommandLine) -> None:
    process, _ = remuda.up()
    pid_file = remuda.folder / "pid"
    task = remuda.submit("--", "sh", "-c", f"echo $$ > {pid_file}; exec sleep 300")
    remuda.wait_state(task, "running")
    wait_until(lambda: pid_file.exists() and bool(pid_file.read_text()), "it did not start")
    process.kill()
    remuda.kill("node-1")
    process.communicate()
    os.kill(int(pid_file.read_text()), 0)  # it outlives both
    assert 0 == remuda("down").returncode
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_down_stops_a_running_up(remuda: CommandLine) -> None:
    process, _ = remuda.up()
    assert 0 == remuda("down").returncode
    assert 0 == process.wait(DEADLINE_S)
    process.communicate()


def test_down_says_so_when_nothing_runs(remuda: CommandLine) -> None:
    done = remuda("down")
    assert (0, f"nothing runs in {remuda.home.root}\n") == (done.returncode, done.stdout)


def test_a_detached_up_returns_when_it_is_ready_and_goes_on(remuda: CommandLine) -> None:
    done = remuda("up", "--detach")
    assert 0 == done.returncode
    assert done.stdout.startswith("ready local ")
    first = remuda.pid("node-1")
    remuda.kill("node-1")
    wait_until(lambda: remuda.pid("node-1") not in (0, first), "nobody watches the node")


def test_a_detached_up_that_fails_says_why(remuda: CommandLine) -> None:
    process, _ = remuda.up()
    done = remuda("up", "--detach")
    assert (4, "") == (done.returncode, done.stdout)
    assert "already up" in done.stderr
    stop(process)


def test_a_daemon_that_cannot_start_ends_up_with_its_reason(remuda: CommandLine) -> None:
    remuda.home.create()
    remuda.home.config_file.write_text('[node]\nnvml = "/no/such/file"\ngpus = ["GPU-none"]\n')
    remuda.env["REMUDA_NODE__BOGUS"] = "1"
    done = remuda("up")
    assert done.returncode != 0
    assert "bogus" in done.stderr.lower()
    assert [] == remuda.leftovers()


def test_a_closed_terminal_stops_the_cluster(remuda: CommandLine) -> None:
    process, _ = remuda.up()
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=DEADLINE_S)
    assert 0 == process.returncode
    assert [] == remuda.leftovers()


def test_nobody_is_needed_to_read_what_up_says(remuda: CommandLine) -> None:
    process = remuda.start("up", stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith("ready ")
    process.stdout.close()
    process.stderr.close()
    first = remuda.pid("node-1")
    remuda.kill("node-1")
    wait_until(lambda: remuda.pid("node-1") not in (0, first), "up died of its closed stderr")
    process.send_signal(signal.SIGINT)
    assert 0 == process.wait(DEADLINE_S)
