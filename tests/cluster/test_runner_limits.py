"""Do silence and fence end what runs in a runner, with and without an agent, and nothing else?"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from remuda.worker import frames

from ..fakes.runner_driver import Driver, wait_until

CODE = """
import sys, time
from remuda import current

def add(a, b=1):
    return a + b

def nap(s):
    time.sleep(s)
    return s

def chatter(turns):
    for turn in range(turns):
        print("still here")
        time.sleep(0.05)
    return turns

def advance(turns):
    for turn in range(turns):
        current.progress(turn / turns)
        time.sleep(0.05)
    return turns

def wedged():
    print("begun")
    time.sleep(1000)
"""
SOON_NS = 300_000_000


def boot_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@pytest.fixture
def worker(runner: Driver) -> Driver:
    runner.host(CODE, grace_s=0.2)
    runner.wait(frames.Loaded)
    return runner


def limit(runner: Driver, call: frames.Call, *, silence_ms: int = 0, fence_ns: int = 0) -> None:
    runner.link.send(frames.CallLimits([[call.task.hex(), 1, silence_ms, fence_ns]]))


def test_a_command_that_falls_silent_is_ended_with_its_own_word(runner: Driver) -> None:
    done = runner.run("echo begun; sleep 60", silence_s=0.3, grace_s=1.0)
    assert ("silence", -15, b"begun\n") == (done.how, done.returncode, done.out_inline)


def test_a_command_that_prints_lives_longer_than_its_silence(runner: Driver) -> None:
    line = "for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.1; done"
    assert ("exit", 0) == (runner.run(line, silence_s=0.5)[2:4])


def test_a_command_that_says_its_progress_lives_longer_than_its_silence(runner: Driver) -> None:
    line = "for i in 1 2 3 4 5 6 7 8; do echo 0.5 same > $REMUDA_PROGRESS; sleep 0.1; done"
    assert ("exit", 0) == (runner.run(line, silence_s=0.5)[2:4])


def test_silence_ends_a_command_while_no_agent_is_connected(runner: Driver) -> None:
    run = runner.start("sleep 60", silence_s=0.3)
    runner.wait(frames.Started)
    runner.link.close()
    wait_until(lambda: not runner.processes(), "the end of the command")
    runner.attach()
    assert "silence" == runner.finished(run).how


def test_a_call_that_falls_silent_is_ended_and_shows_its_stack(worker: Driver) -> None:
    wedged, waiting = worker.call("wedged"), worker.call("add", 1)
    limit(worker, wedged, silence_ms=300)
    worker.send_calls(wedged, waiting)
    first, second = worker.outcomes(wedged, waiting)
    failure = frames.unpack_failure(first.body)
    assert (frames.FAILED, "silence") == (first.status, failure.code)
    assert "in wedged" in failure.traceback
    assert frames.RETURNED == second.status
    assert "silence" == worker.wait(frames.WorkerEnded).how


@pytest.mark.parametrize("name", ["chatter", "advance"])
def test_a_call_that_shows_life_outlives_its_silence(worker: Driver, name: str) -> None:
    call = worker.call(name, 16)
    limit(worker, call, silence_ms=500)
    worker.send_calls(call)
    assert [frames.OK] == [outcome.status for outcome in worker.outcomes(call)]


def test_a_limit_holds_for_its_call_alone(worker: Driver) -> None:
    limited, free = worker.call("add", 1), worker.call("nap", 0.6)
    limit(worker, limited, silence_ms=100)
    worker.send_calls(limited, free)
    assert [frames.OK] * 2 == [outcome.status for outcome in worker.outcomes(limited, free)]


def test_a_fenced_command_ends_when_nobody_renews_its_fence(runner: Driver) -> None:
    run = runner.start("sleep 60", fence_boot_ns=boot_ns() + SOON_NS)
    runner.wait(frames.Started)
    runner.link.close()
    wait_until(lambda: not runner.processes(), "the end of the command")
    runner.attach()
    assert "fenced" == runner.finished(run).how


def test_a_fence_that_is_renewed_does_not_end_a_command(runner: Driver) -> None:
    run = runner.start("sleep 0.8", fence_boot_ns=boot_ns() + SOON_NS)
    runner.link.send(frames.Renew(boot_ns() + 60_000_000_000))
    assert ("exit", 0) == runner.finished(run)[2:4]


def test_a_renewal_that_was_said_long_ago_prolongs_nothing(runner: Driver) -> None:
    run = runner.start("sleep 60", fence_boot_ns=boot_ns() + SOON_NS)
    runner.link.send(frames.Renew(boot_ns() - 1))
    assert "fenced" == runner.finished(run).how


def test_a_renewal_gives_no_fence_to_what_has_none(runner: Driver) -> None:
    run = runner.start("sleep 0.5")
    runner.link.send(frames.Renew(1))
    assert ("exit", 0) == runner.finished(run)[2:4]


def test_a_fenced_call_is_killed_and_comes_back_uncharged(worker: Driver) -> None:
    fenced, waiting = worker.call("nap", 1000), worker.call("add", 1)
    limit(worker, fenced, fence_ns=boot_ns() + SOON_NS)
    worker.send_calls(fenced, waiting)
    first, second = worker.outcomes(fenced, waiting)
    assert [frames.RETURNED] * 2 == [first.status, second.status]
    assert "fenced" == frames.unpack_failure(first.body).code
    assert "fenced" == worker.wait(frames.WorkerEnded).how
    assert [] == worker.processes()


def test_a_fenced_call_that_waits_never_begins_after_its_fence(
    worker: Driver, tmp_path: Path
) -> None:
    busy, fenced = worker.call("nap", 0.8), worker.call("add", 1)
    limit(worker, fenced, fence_ns=boot_ns() + SOON_NS)
    worker.send_calls(busy, fenced)
    done, back = worker.outcomes(busy, fenced)
    assert (frames.OK, frames.RETURNED) == (done.status, back.status)
