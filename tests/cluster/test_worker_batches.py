"""Do the calls of a handler with max_batch run together, each with its own end? A real worker."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remuda.node import outputs
from remuda.worker import frames, values
from remuda.worker.asks import Attach

from ..fakes.runner_driver import Driver, driven, wait_until

CODE = """
import os, pathlib, sys, time
from remuda import File, current

class OutOfMemoryError(RuntimeError):
    pass

OutOfMemoryError.__module__ = "torch"

class Work:
    def __init__(self, factor=1):
        self.factor = factor

    def load(self):
        pass

    def __call__(self, values, wait=0):
        if "die" in values:
            os.kill(os.getpid(), 9)
        if "short" in values:
            return values[1:]
        if "raise" in values:
            raise ValueError("no good")
        if "large" in values and len(values) > 2:
            raise OutOfMemoryError("CUDA out of memory")
        if "print" in values:
            print("together")
            for call, value in zip(current.batch, values):
                with call:
                    print("mine", value)
                call.progress(0.5, str(value))
        if "file" in values:
            found = []
            for call, value in zip(current.batch, values):
                (pathlib.Path(call.directory) / "out.txt").write_text(str(value))
                found.append(File("out.txt"))
            return found
        if "gate" in values:
            gate = wait[values.index("gate")]
            pathlib.Path(gate).touch()
            while not pathlib.Path(gate + ".open").exists():
                for call, value in zip(current.batch, values):
                    if call.cancelled:
                        pathlib.Path(f"{gate}.cancelled-{value}").touch()
                time.sleep(0.01)
        return [
            ValueError("this one") if value == "bad"
            else (len(values), value * self.factor if isinstance(value, int) else value)
            for value in values
        ]
"""


def host(driver: Driver, max_batch: int = 8, max_wait_s: float = 5.0, **fields: Any) -> None:
    fields.setdefault("handler", "code_under_test:Work")
    fields.setdefault("tasks_dir", str(driver.tmp_path / "tasks" / "t"))
    Path(fields["tasks_dir"]).mkdir(parents=True)
    driver.link.send(Attach(frames.PROTOCOL))
    driver.host(CODE, max_batch=max_batch, max_wait_s=max_wait_s, **fields)


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Driver]:
    """A worker that waits for three calls, for long."""
    with driven(tmp_path) as driver:
        host(driver, max_batch=3)
        driver.wait(frames.Loaded)
        yield driver


def together(runner: Driver, *calls: Any, **kwargs: Any) -> list[frames.Outcome]:
    """Run so many calls as one batch and return their outcomes."""
    return runner.outcomes(*sent(runner, *calls, **kwargs))


def sent(runner: Driver, *calls: Any, timeout_ms: int = 0, **kwargs: Any) -> list[frames.Call]:
    found = [runner.call("", value, timeout_ms=timeout_ms, **kwargs) for value in calls]
    runner.send_calls(*found)
    return found


def value_of(outcome: frames.Outcome) -> Any:
    assert frames.OK == outcome.status, outcome.body
    return values.decode(outcome.body)


def failure_of(outcome: frames.Outcome) -> frames.Failure:
    assert frames.FAILED == outcome.status
    return frames.unpack_failure(outcome.body)


def test_calls_that_wait_run_together_and_each_gets_its_own_result(runner: Driver) -> None:
    found = [value_of(each) for each in together(runner, 1, 2, 3, 4, 5, 6)]
    assert [(3, number) for number in range(1, 7)] == found


def test_which_calls_run_together_is_told(runner: Driver) -> None:
    calls = sent(runner, 1, 2, 3)
    rows = runner.wait(frames.Formed, lambda formed: bool(formed.rows)).rows
    assert [[call.task.hex(), 1] for call in calls] == rows


def test_an_exception_in_the_list_fails_its_call_alone(runner: Driver) -> None:
    good, bad, other = together(runner, 1, "bad", 3)
    assert ((3, 1), (3, 3)) == (value_of(good), value_of(other))
    assert ("exception", "ValueError", "this one") == failure_of(bad)[:3]


def test_an_exception_that_is_raised_fails_all_and_says_so(runner: Driver) -> None:
    for each in together(runner, 1, "raise", 3):
        failure = failure_of(each)
        assert ("ValueError", "no good (raised for all 3 calls of the batch)") == failure[1:3]
        assert 'raise ValueError("no good")' in failure.traceback


def test_a_list_of_another_length_fails_all_with_what_is_wanted(runner: Driver) -> None:
    for each in together(runner, 1, "short", 3):
        assert "Work returned 2 results for a batch of 3 calls" in failure_of(each).message


def test_arguments_that_do_not_fit_fail_their_call_alone(runner: Driver) -> None:
    calls = [runner.call("", 1), runner.call("", 1, colour="red"), runner.call("", values=3)]
    runner.send_calls(*calls)
    good, wrong, named = runner.outcomes(*calls)
    assert ((2, 1), (2, 3)) == (value_of(good), value_of(named))
    assert "got an unexpected keyword argument 'colour'" in failure_of(wrong).message


def test_a_batch_that_does_not_fit_into_memory_is_halved(runner: Driver) -> None:
    found = [value_of(each) for each in together(runner, "large", 2, 3)]
    assert [(2, "large"), (2, 2), (1, 3)] == found
    assert [(2, 4), (2, 5)] == [value_of(each) for each in together(runner, 4, 5)]


def test_each_call_has_its_own_output_and_progress(runner: Driver) -> None:
    calls = sent(runner, "print", "b", "c")
    runner.outcomes(*calls)
    for call, value in zip(calls, ["print", "b", "c"], strict=True):
        text = outputs.read(runner.directory, call.task, 1, "out", 0, 1000)
        assert f"together\nmine {value}\n" == text.data.decode()


def test_a_file_that_is_returned_for_a_call_is_in_its_own_directory(runner: Driver) -> None:
    calls = sent(runner, "file", "b", "c")
    for outcome in runner.outcomes(*calls):
        assert frames.STORED == outcome.status
        folder = runner.tmp_path / "tasks" / "t" / frames.attempt_key(outcome.task, 1)
        assert (folder / "returned.json").exists()
        assert (folder / "work" / "out.txt").exists()


def test_the_handler_is_made_with_its_options(tmp_path: Path) -> None:
    with driven(tmp_path) as driver:
        host(driver, max_batch=2, options={"factor": 10})
        driver.wait(frames.Loaded)
        assert [(2, 10), (2, 20)] == [value_of(each) for each in together(driver, 1, 2)]


def test_a_handler_whose_parameters_have_no_names_does_not_load(tmp_path: Path) -> None:
    with driven(tmp_path) as driver:
        place = tmp_path / "code"
        place.mkdir()
        (place / "loose.py").write_text("class Loose:\n    def __call__(self, *args): ...\n")
        host(driver, handler="loose:Loose")
        failure = driver.wait(frames.WorkerEnded).failure
        assert "__call__ takes *args, but with max_batch" in failure["message"]


def gated(runner: Driver, *calls: Any, **kwargs: Any) -> tuple[Path, list[frames.Call]]:
    """Let a batch begin that waits for a file; return its gate and the calls."""
    gate = runner.tmp_path / "gate"
    found = sent(runner, "gate", *calls, wait=str(gate), **kwargs)
    wait_until(gate.exists, "the batch")
    return Path(f"{gate}.open"), found


def test_a_cancelled_call_that_waits_leaves_the_batch(runner: Driver) -> None:
    first, second = sent(runner, 1, 2)
    runner.link.send(frames.Cancel(first.task, 1))
    status, failure = runner.failure(first)
    assert (frames.RETURNED, "cancelled") == (status, failure.code)
    third, fourth = sent(runner, 3, 4)
    found = [value_of(each) for each in runner.outcomes(second, third, fourth)]
    assert [(3, 2), (3, 3), (3, 4)] == found


def test_a_call_that_is_cancelled_in_a_running_batch_leaves_its_neighbours_alone(
    runner: Driver,
) -> None:
    gate, calls = gated(runner, 2, 3)
    runner.link.send(frames.Cancel(calls[1].task, 1, 60.0))
    wait_until((runner.tmp_path / "gate.cancelled-2").exists, "its batch is told of the cancel")
    gate.touch()
    first, second, third = runner.outcomes(*calls)
    assert ((3, "gate"), (3, 3)) == (value_of(first), value_of(third))
    assert "cancelled" == failure_of(second).code


def test_a_batch_that_outlives_the_grace_of_a_cancel_goes_back_uncharged(runner: Driver) -> None:
    _, calls = gated(runner, 2, 3)
    runner.link.send(frames.Cancel(calls[1].task, 1, 0.1))
    first, second, third = runner.outcomes(*calls)
    assert "cancelled" == failure_of(second).code
    for each in (first, third):
        failure = frames.unpack_failure(each.body)
        assert (frames.RETURNED, "batch_ended") == (each.status, failure.code)


def test_a_call_over_its_time_fails_and_the_others_keep_their_results(tmp_path: Path) -> None:
    with driven(tmp_path) as driver:
        host(driver, max_batch=3, grace_s=60.0)
        driver.wait(frames.Loaded)
        gate = tmp_path / "gate"
        slow = driver.call("", 2, timeout_ms=200, wait=str(gate))
        first, third = (driver.call("", each, wait=str(gate)) for each in ("gate", 3))
        driver.send_calls(first, slow, third)
        wait_until((tmp_path / "gate.cancelled-2").exists, "its batch is told of the timeout")
        Path(f"{gate}.open").touch()
        found = driver.outcomes(first, slow, third)
        assert ((3, "gate"), (3, 3)) == (value_of(found[0]), value_of(found[2]))
        assert ("timeout", "ran longer than 0.2 s") == failure_of(found[1])[::2][:2]


def test_a_batch_of_which_all_are_over_their_time_ends_at_once_with_the_stack(
    runner: Driver,
) -> None:
    _, calls = gated(runner, 2, 3, timeout_ms=200)
    found = [failure_of(each) for each in runner.outcomes(*calls)]
    assert ["timeout"] * 3 == [failure.code for failure in found]
    assert any("__call__" in failure.traceback for failure in found)


def test_of_a_batch_whose_worker_dies_all_come_back_to_run_alone(runner: Driver) -> None:
    for each in together(runner, 1, "die", 3):
        failure = frames.unpack_failure(each.body)
        assert (frames.RETURNED, "batch_died") == (each.status, failure.code)
        assert "signal SIGKILL" in failure.message


def test_a_call_that_kills_its_worker_alone_is_charged(tmp_path: Path) -> None:
    with driven(tmp_path) as driver:
        host(driver, max_wait_s=0.0)
        driver.wait(frames.Loaded)
        (outcome,) = together(driver, "die")
        assert "worker_died" == failure_of(outcome).code


def test_without_max_wait_a_call_runs_at_once_and_those_behind_it_together(
    tmp_path: Path,
) -> None:
    with driven(tmp_path) as driver:
        host(driver, max_wait_s=0.0)
        driver.wait(frames.Loaded)
        gate, (first,) = gated(driver)
        others = sent(driver, 1, 2, 3)
        gate.touch()
        found = [value_of(each) for each in driver.outcomes(first, *others)]
        assert [(1, "gate"), (3, 1), (3, 2), (3, 3)] == found


def test_an_agent_that_comes_back_is_told_which_calls_run_together(runner: Driver) -> None:
    gate, calls = gated(runner, 2, 3)
    runner.link.close()
    runner.attach()
    runner.link.send(Attach(frames.PROTOCOL))
    rows = runner.wait(frames.Formed).rows
    assert [[call.task.hex(), 1] for call in calls] == rows
    gate.touch()
    assert 3 == len(runner.outcomes(*calls))


def test_an_agent_of_an_older_release_is_not_told_what_it_does_not_know(runner: Driver) -> None:
    runner.link.close()
    runner.attach()
    runner.link.send(Attach(3))
    runner.outcomes(*sent(runner, 1, 2, 3))
    assert not [each for each in runner.seen if isinstance(each, frames.Formed)]


def test_a_killed_worker_is_known_by_its_signal(runner: Driver) -> None:
    _, calls = gated(runner, 2, 3)
    pid = runner.wait(frames.Started).pid
    os.kill(pid, signal.SIGSEGV)
    for each in runner.outcomes(*calls):
        assert "SIGSEGV" in frames.unpack_failure(each.body).message
