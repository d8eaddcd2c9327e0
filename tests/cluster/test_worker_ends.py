"""What becomes of calls when their worker is cancelled, times out, dies or is ended?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from remuda.worker import frames, values

from ..fakes.runner_driver import Driver, driven, wait_until

CODE = """
import os, signal, subprocess, sys, time
from remuda import current

def add(a, b=1):
    return a + b

def nap(s):
    time.sleep(s)
    return s

def polite():
    while not current.cancelled:
        time.sleep(0.005)
    return "stopped"

def crash():
    print("last words", file=sys.__stderr__, flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)

def exit_hard():
    os._exit(7)

def leave_child():
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    return os.getpid()

def stubborn():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(1000)
"""


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Driver]:
    with driven(tmp_path) as driver:
        driver.host(CODE, grace_s=0.2)
        driver.wait(frames.Loaded)
        yield driver


def test_a_call_over_its_timeout_is_killed_and_the_next_comes_back_uncharged(
    runner: Driver,
) -> None:
    slow, waiting = runner.call("nap", 1000, timeout_ms=200), runner.call("add", 1)
    runner.send_calls(slow, waiting)
    first, second = runner.outcomes(slow, waiting)
    failure = frames.unpack_failure(first.body)
    assert (frames.FAILED, "timeout") == (first.status, failure.code)
    assert "in nap" in failure.traceback
    assert "remuda/worker" not in failure.traceback
    assert frames.RETURNED == second.status
    assert "timeout" == runner.wait(frames.WorkerEnded).how
    assert [] == runner.processes()


def test_a_call_that_ignores_term_is_killed_after_the_grace(runner: Driver) -> None:
    call = runner.call("stubborn", timeout_ms=200)
    runner.send_calls(call)
    assert "timeout" == runner.failure(call)[1].code
    assert -9 == runner.wait(frames.WorkerEnded).returncode


def test_a_timeout_counts_from_the_start_of_its_own_call(runner: Driver) -> None:
    calls = [runner.call("nap", 0.15, timeout_ms=400) for _ in range(4)]
    runner.send_calls(*calls)
    assert [frames.OK] * 4 == [outcome.status for outcome in runner.outcomes(*calls)]


def test_a_timeout_of_a_call_holds_while_no_agent_is_connected(runner: Driver) -> None:
    call = runner.call("nap", 1000, timeout_ms=200)
    runner.send_calls(call)
    runner.link.send(frames.Status())
    runner.wait(frames.Hello)
    runner.link.close()
    wait_until(lambda: not runner.processes(), "the worker's end")
    runner.attach()
    assert "timeout" == runner.failure(call)[1].code


def test_a_waiting_call_is_cancelled_before_it_starts(runner: Driver) -> None:
    busy, waiting, last = runner.call("polite"), runner.call("add", 1), runner.call("add", 2)
    runner.send_calls(busy, waiting, last)
    runner.wait(frames.Started)
    runner.link.send(frames.Cancel(waiting.task, 1, 5.0))
    status, failure = runner.failure(waiting)
    assert (frames.RETURNED, "cancelled") == (status, failure.code)
    runner.link.send(frames.Cancel(busy.task, 1, 5.0))
    stopped, added = runner.outcomes(busy, last)
    assert ["stopped", 3] == [values.decode(stopped.body), values.decode(added.body)]


def test_a_call_that_is_asked_back_comes_back_unless_it_runs(runner: Driver) -> None:
    busy, waiting, last = runner.call("nap", 0.7), runner.call("add", 1), runner.call("add", 2)
    runner.send_calls(busy, waiting, last)
    runner.wait(frames.Started)
    for call in (busy, waiting):
        runner.link.send(frames.Cancel(call.task, 1, only_if_waiting=True))
    returned, done, added = runner.outcomes(waiting, busy, last)
    assert (frames.RETURNED, frames.OK, frames.OK) == (returned.status, done.status, added.status)
    assert 3 == values.decode(added.body)


def test_a_cancelled_call_that_does_not_return_is_killed_after_the_grace(
    runner: Driver,
) -> None:
    call, waiting = runner.call("nap", 1000), runner.call("add", 1)
    runner.send_calls(call, waiting)
    runner.wait(frames.Started)
    runner.link.send(frames.Cancel(call.task, 1, 0.2))
    first, second = runner.outcomes(call, waiting)
    assert "cancelled" == frames.unpack_failure(first.body).code
    assert (frames.FAILED, frames.RETURNED) == (first.status, second.status)
    assert "cancelled" == runner.wait(frames.WorkerEnded).how
    assert [] == runner.processes()


def test_a_crash_charges_the_running_call_and_returns_the_others(runner: Driver) -> None:
    calls = [runner.call("add", 1), runner.call("crash"), runner.call("add", 2)]
    runner.send_calls(*calls)
    done, crashed, waiting = runner.outcomes(*calls)
    # The first had run; whether its answer left before the crash is a matter of 5 ms.
    assert done.status in (frames.OK, frames.FAILED)
    failure = frames.unpack_failure(crashed.body)
    assert (frames.FAILED, "worker_died") == (crashed.status, failure.code)
    assert "SIGSEGV" in failure.message
    assert "last words" in failure.log_tail
    assert frames.RETURNED == waiting.status
    ended = runner.wait(frames.WorkerEnded)
    assert ("died", -11) == (ended.how, ended.returncode)


def test_a_hard_exit_is_a_death_with_its_status(runner: Driver) -> None:
    call = runner.call("exit_hard")
    runner.send_calls(call)
    assert "worker_died" == runner.failure(call)[1].code
    assert 7 == runner.wait(frames.WorkerEnded).returncode


def test_children_of_a_worker_are_gone_with_it(runner: Driver) -> None:
    runner.value("leave_child")
    assert wait_until(lambda: 2 == len(runner.processes()), "the child")
    runner.link.send(frames.EndWorker(1.0))
    ended = runner.wait(frames.WorkerEnded)
    assert "ended" == ended.how
    assert [] == runner.processes()


def test_an_ended_worker_returns_what_it_had_not_started(runner: Driver) -> None:
    busy, waiting = runner.call("nap", 1000), runner.call("add", 1)
    runner.send_calls(busy, waiting)
    runner.wait(frames.Started)
    runner.link.send(frames.EndWorker(0.2))
    first, second = runner.outcomes(busy, waiting)
    assert (frames.FAILED, "evicted") == (first.status, frames.unpack_failure(first.body).code)
    assert frames.RETURNED == second.status


def test_a_runner_takes_a_new_worker_after_the_old_one_ended(runner: Driver) -> None:
    runner.link.send(frames.EndWorker(1.0))
    runner.wait(frames.WorkerEnded)
    runner.host(CODE)
    runner.wait(frames.Loaded)
    assert 3 == runner.value("add", 2)


def test_held_calls_and_their_start_are_told_to_the_next_agent(runner: Driver) -> None:
    busy, waiting = runner.call("polite"), runner.call("add", 1)
    runner.send_calls(busy, waiting)
    runner.wait(frames.Started)
    runner.link.close()
    hello = runner.attach()
    assert ("worker", "worker-1", True) == (hello.occupant, hello.worker, hello.loaded)
    assert [[busy.task.hex(), 1, True], [waiting.task.hex(), 1, False]] == hello.held
    runner.link.send(frames.Cancel(busy.task, 1, 5.0))
    runner.outcomes(busy, waiting)


SLOW = "import time\nclass Slow:\n    def load(self):\n        time.sleep(1000)\n"


def test_a_call_is_cancelled_and_its_worker_ended_while_it_still_loads(tmp_path: Path) -> None:
    with driven(tmp_path) as runner:
        runner.host(SLOW, handler="code_under_test:Slow")
        call = runner.call("")
        runner.send_calls(call)
        runner.link.send(frames.Cancel(call.task, 1, 5.0))
        status, failure = runner.failure(call)
        assert (frames.RETURNED, "cancelled") == (status, failure.code)
        runner.link.send(frames.EndWorker(0.2))
        assert "ended" == runner.wait(frames.WorkerEnded).how
        assert [] == runner.processes()


def test_a_load_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with driven(tmp_path) as runner:
        # The limit holds from the order on: a busy machine needs some of it to start the worker.
        runner.host(SLOW, handler="code_under_test:Slow", load_timeout_s=5.0, grace_s=0.2)
        ended = runner.wait(frames.WorkerEnded)
        assert ("load_failed", "model_unavailable") == (ended.how, ended.failure["code"])
        assert "in load" in ended.failure["traceback"]


def test_too_many_open_calls_are_refused_whole(runner: Driver) -> None:
    blocker = runner.call("polite")
    runner.send_calls(blocker)
    batches = [[runner.call("add", 1) for _ in range(1024)] for _ in range(8)]
    for batch in batches:
        runner.send_calls(*batch)
    refused = runner.wait(frames.Refused)
    assert ("full", 9) == (refused.code, refused.seq)
    runner.link.send(frames.Cancel(blocker.task, 1, 5.0))
    taken = [call for batch in batches[:-1] for call in batch]
    assert {frames.OK} == {outcome.status for outcome in runner.outcomes(blocker, *taken)}
