"""Is a process that the kernel really ended for memory told from one that somebody killed?"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from remuda.node import failures
from remuda.worker import frames

from ..fakes import small_memory
from ..fakes.runner_driver import Driver, driven

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not small_memory.is_there(), reason=small_memory.MISSING),
]
CODE = """
import os, signal

def grow(group):
    with open(group, "w") as file:
        file.write(str(os.getpid()))
    return len(bytearray(256 << 20))
"""
GROW = """
import os, sys
with open(sys.argv[1], "w") as file:
    file.write(str(os.getpid()))
bytearray(256 << 20)
"""


@pytest.fixture
def group() -> Iterator[Path]:
    with small_memory.small_memory() as found:
        yield found


@pytest.fixture
def runner(tmp_path: Path, group: Path) -> Iterator[Driver]:
    with driven(tmp_path) as driver:  # within the group: its processes are gone before it
        yield driver


def test_a_command_that_the_kernel_ended_for_memory_says_so(runner: Driver, group: Path) -> None:
    done = runner.run(sys.executable, "-c", GROW, str(group))
    assert (-signal.SIGKILL, "host") == (done.returncode, done.memory_evidence)
    assert "out_of_memory" == failures.verdict(done, b"").code


def test_a_child_that_the_kernel_ended_for_memory_shows_in_the_exit_of_its_shell(
    runner: Driver, group: Path
) -> None:
    done = runner.run("sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", GROW, str(group))
    assert 128 + signal.SIGKILL == done.returncode
    assert "out_of_memory" == failures.verdict(done, b"").code


def test_a_function_that_the_kernel_ended_for_memory_says_so(runner: Driver, group: Path) -> None:
    runner.host(CODE)
    runner.wait(frames.Loaded)
    call = runner.call("grow", str(group))
    runner.send_calls(call)
    status, failure = runner.failure(call)
    assert (frames.FAILED, "out_of_memory") == (status, failure.code)
    assert "the kernel's out-of-memory killer was at work" in failure.message


def test_a_command_that_somebody_killed_shows_nothing_of_memory(tmp_path: Path) -> None:
    with driven(tmp_path) as runner:
        run = runner.start("sleep 1000")
        os.kill(runner.wait(frames.Started).pid, signal.SIGKILL)
        done = runner.finished(run)
    assert (-signal.SIGKILL, "exit_code") == (done.returncode, code_of(done))


def code_of(done: frames.Finished) -> str:
    return failures.verdict(done, b"").code or "exit_code"
