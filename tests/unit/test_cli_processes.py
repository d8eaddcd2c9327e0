"""Is a process that a pid file names only ever signalled while it is still the same one?"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from remuda.cli.processes import catches, identify, open_process, write_pid_file

DEADLINE_S = 10.0


@pytest.fixture
def sleeper(tmp_path: Path):
    child = subprocess.Popen(["sleep", "60"])
    write_pid_file(tmp_path / "sleeper.pid", child.pid)
    yield child
    child.kill()
    child.wait()


def test_a_running_process_is_found_by_its_pid_file(tmp_path: Path, sleeper) -> None:
    found = open_process(tmp_path / "sleeper.pid")
    assert found is not None
    assert sleeper.pid == found.pid
    found.close()


def test_a_signal_reaches_the_process_and_its_end_is_seen(tmp_path: Path, sleeper) -> None:
    found = open_process(tmp_path / "sleeper.pid")
    assert found is not None
    found.send(signal.SIGTERM)
    assert found.wait_end(DEADLINE_S)
    sleeper.wait()
    found.send(signal.SIGKILL)  # nothing to hit any more, and no error
    found.close()


def test_a_pid_that_was_used_again_is_not_found(tmp_path: Path, sleeper) -> None:
    path = tmp_path / "sleeper.pid"
    noted = json.loads(path.read_text())
    path.write_text(json.dumps(noted | {"start_ticks": noted["start_ticks"] - 1}))
    assert open_process(path) is None


def test_a_pid_of_another_boot_is_not_found(tmp_path: Path, sleeper) -> None:
    path = tmp_path / "sleeper.pid"
    noted = json.loads(path.read_text())
    path.write_text(json.dumps(noted | {"boot_id": "another"}))
    assert open_process(path) is None


def test_a_process_that_ended_is_not_found(tmp_path: Path, sleeper) -> None:
    sleeper.kill()
    sleeper.wait()
    assert open_process(tmp_path / "sleeper.pid") is None


def test_a_zombie_counts_as_ended(sleeper) -> None:
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert identify(sleeper.pid) is None


@pytest.mark.parametrize("text", ["", "123", "{}", '{"pid": "x"}', "[1]"])
def test_garbage_in_a_pid_file_names_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.pid").write_text(text)
    assert open_process(tmp_path / "x.pid") is None


def test_a_handler_is_seen_once_it_is_installed() -> None:
    program = (
        "import signal, sys\n"
        "signal.signal(signal.SIGUSR2, lambda *_: None)\n"
        "sys.stdout.write('set'); sys.stdout.flush(); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert b"set" == child.stdout.read(3)
        assert catches(child.pid, signal.SIGUSR2)
        assert not catches(child.pid, signal.SIGUSR1)
        child.kill()
    assert not catches(child.pid, signal.SIGUSR2)


def test_the_start_time_is_read_past_a_name_with_brackets(tmp_path: Path) -> None:
    link = tmp_path / "a) R 1 (b"
    link.symlink_to("/bin/sleep")
    child = subprocess.Popen([str(link), "60"])
    try:
        found = identify(child.pid)
        assert found is not None
        ticks_per_s = os.sysconf("SC_CLK_TCK")
        uptime_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        assert abs(found.start_ticks / ticks_per_s - uptime_s) < DEADLINE_S
    finally:
        child.kill()
        child.wait()
