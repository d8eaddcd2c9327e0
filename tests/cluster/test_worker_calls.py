"""Does a warm worker run calls as promised: values, failures, output, progress, code by name?"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from remuda.node import outputs
from remuda.worker import frames, values

from ..fakes.runner_driver import ENV, Driver, driven

CODE = """
import os, sys, time
from remuda import current

def add(a, b=1):
    return a + b

def talk(text, err=""):
    print(text)
    print(err, end="", file=sys.stderr)
    return len(text)

def who():
    return current.task_id, current.attempt, current.gpus, current.cancelled

def fail():
    raise ValueError("broken " + "glass")

def unencodable():
    return {"thing": object()}

def large():
    return b"x" * 70000

def leave():
    sys.exit(3)

async def later():
    return "later"

def halfway():
    current.progress(0.5, "half")
    time.sleep(0.3)

def until(path):
    while not os.path.exists(path):
        time.sleep(0.01)

def place():
    return os.getcwd(), os.environ.get("COLOR"), sys.argv[:0]

def flood(n):
    for number in range(n):
        print(number)

def raw():
    os.write(1, b"from C")
"""


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Driver]:
    with driven(tmp_path) as driver:
        driver.host(CODE, env={**ENV, "COLOR": "red", "REMUDA_GPU_UUIDS": "GPU-1,GPU-2"})
        driver.wait(frames.Loaded)
        yield driver


def failure_of(runner: Driver, name: str, *args: object) -> frames.Failure:
    call = runner.call(name, *args)
    runner.send_calls(call)
    status, failure = runner.failure(call)
    assert frames.FAILED == status
    return failure


def test_a_call_returns_its_value(runner: Driver) -> None:
    assert 5 == runner.value("add", 2, b=3)


def test_a_batch_is_answered_call_by_call(runner: Driver) -> None:
    calls = [runner.call("add", number) for number in range(500)]
    runner.send_calls(*calls)
    found = [values.decode(outcome.body) for outcome in runner.outcomes(*calls)]
    assert list(range(1, 501)) == found


def test_an_exception_travels_with_its_type_and_the_users_traceback(runner: Driver) -> None:
    failure = failure_of(runner, "fail")
    assert ("exception", "ValueError", "broken glass") == failure[:3]
    assert 'raise ValueError("broken " + "glass")' in failure.traceback
    assert "remuda/worker" not in failure.traceback


def test_a_result_that_cannot_travel_says_so_with_its_repr(runner: Driver) -> None:
    failure = failure_of(runner, "unencodable")
    assert "result_not_encodable" == failure.code
    assert "the value['thing'] is an object" in failure.message
    assert "<object object at" in failure.message


def test_a_result_over_the_limit_is_refused(runner: Driver) -> None:
    assert "value_too_large" == failure_of(runner, "large").code


def test_sys_exit_fails_the_call_and_not_the_worker(runner: Driver) -> None:
    assert ("exception", "SystemExit", "3") == failure_of(runner, "leave")[:3]
    assert 2 == runner.value("add", 1)


@pytest.mark.parametrize("target", ["code_under_test:nothing", "no_such_module:f", "nonsense"])
def test_a_target_that_is_not_there_is_code_missing(runner: Driver, target: str) -> None:
    call = runner.call("add", 1)._replace(target=target)
    runner.send_calls(call)
    assert "code_missing" == runner.failure(call)[1].code


def test_arguments_that_cannot_be_read_fail_their_call_alone(runner: Driver) -> None:
    bad, good = runner.call("add", 1)._replace(args=b"\xc1"), runner.call("add", 1)
    runner.send_calls(bad, good)
    first, second = runner.outcomes(bad, good)
    assert "args_not_decodable" == frames.unpack_failure(first.body).code
    assert frames.OK == second.status


def test_an_async_function_is_awaited(runner: Driver) -> None:
    assert "later" == runner.value("later")


def test_current_knows_the_task(runner: Driver) -> None:
    call = runner.call("who")._replace(task=(1).to_bytes(16, "big"), attempt=4)
    runner.send_calls(call)
    (outcome,) = runner.outcomes(call)
    expected = ("0" * 25 + "1", 4, ["GPU-1", "GPU-2"], False)
    assert expected == values.decode(outcome.body)


def test_progress_of_a_call_is_reported(runner: Driver) -> None:
    call = runner.call("halfway")
    runner.send_calls(call)
    said = runner.wait(frames.Progress)
    assert (call.task, 0.5, "half") == (said.task, said.fraction, said.text)
    runner.outcomes(call)


def test_what_a_call_prints_lands_with_the_call(runner: Driver) -> None:
    one, two = runner.call("talk", "first", "oops"), runner.call("talk", "second")
    runner.send_calls(one, two)
    first, second = runner.outcomes(one, two)
    assert (6, 4, 7, 0) == (first.out_bytes, first.err_bytes, second.out_bytes, second.err_bytes)
    read = [
        outputs.read(runner.directory, task, 1, stream, 0, 100).data
        for task, stream in ((one.task, "out"), (one.task, "err"), (two.task, "out"))
    ]
    assert [b"first\n", b"oops", b"second\n"] == read


def test_a_silent_call_makes_no_files(runner: Driver) -> None:
    runner.value("add", 1)
    assert [] == list((runner.directory / "a").iterdir())


def test_output_of_a_running_call_is_readable_before_its_end(runner: Driver) -> None:
    code = runner.tmp_path / "code" / "printer.py"
    code.write_text("import time\ndef go():\n    print('early')\n    time.sleep(0.6)\n")
    call = runner.call("printer:go")
    runner.send_calls(call)
    assert 6 == runner.wait(frames.OutputGrew).out_bytes
    assert b"early\n" == outputs.read(runner.directory, call.task, 1, "out", 0, 100).data
    runner.outcomes(call)


def test_a_flood_of_prints_is_bounded_with_its_end_kept(tmp_path: Path) -> None:
    with driven(tmp_path) as runner:
        runner.host(CODE, output_bytes_max=10_000)
        runner.wait(frames.Loaded)
        call = runner.call("flood", 100_000)
        runner.send_calls(call)
        (outcome,) = runner.outcomes(call)
        whole = b"".join(b"%d\n" % number for number in range(100_000))
        assert len(whole) == outcome.out_bytes
        assert 10_000 == (runner.folder(call.task) / "out").stat().st_size
        seen = outputs.summary(runner.directory, call.task, 1, "out", side_bytes_max=500)
        assert (whole[:500], whole[-500:]) == (seen.head, seen.tail)


def test_raw_writes_to_descriptor_one_go_to_the_workers_log(runner: Driver) -> None:
    runner.value("raw")
    assert b"from C" in (runner.directory / "worker.log").read_bytes()


def test_a_fast_result_does_not_wait_for_a_slow_neighbour_in_its_batch(
    runner: Driver, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    fast, slow = runner.call("add", 1), runner.call("until", str(gate))
    runner.send_calls(fast, slow)
    (first,) = runner.outcomes(fast)
    gate.touch()  # which the slow one waits for
    (second,) = runner.outcomes(slow)
    assert [frames.OK] * 2 == [first.status, second.status]


def test_a_call_repeated_by_the_agent_runs_once(runner: Driver, tmp_path: Path) -> None:
    code = runner.tmp_path / "code" / "counter.py"
    trace = tmp_path / "trace"
    code.write_text(f"def go(n):\n    open({str(trace)!r}, 'a').write(n)\n    return n\n")
    call, other = runner.call("counter:go", "a"), runner.call("counter:go", "b")
    runner.send_calls(call, call)
    runner.send_calls(call)
    runner.outcomes(call)
    runner.send_calls(call, other)
    runner.outcomes(other)
    assert "ab" == trace.read_text()


def test_calls_without_a_worker_are_refused_whole(tmp_path: Path) -> None:
    with driven(tmp_path) as runner:
        runner.send_calls(runner.call("add", 1))
        refused = runner.wait(frames.Refused)
        assert ("no_worker", 1) == (refused.code, refused.seq)


def test_a_function_of_a_script_runs_without_running_the_script(tmp_path: Path) -> None:
    source = (
        b"from dataclasses import dataclass\n"
        b"from remuda import register_type\n"
        b"@register_type\n"
        b"@dataclass\n"
        b"class Point:\n    x: int\n"
        b"def double(point):\n    return Point(point.x * 2)\n"
        b"def crash():\n    raise KeyError('in script')\n"
        b"if __name__ == '__main__':\n    raise SystemExit('ran as a script')\n"
    )
    with driven(tmp_path) as runner:
        runner.host(main_name="/home/me/script.py", main_source=source)
        runner.wait(frames.Loaded)
        point = values.Record("__main__:Point", {"x": 4})
        assert values.Record("__main__:Point", {"x": 8}) == runner.value("__main__:double", point)
        trace = failure_of(runner, "__main__:crash").traceback
        assert 'File "/home/me/script.py", line 10' in trace
        assert "raise KeyError('in script')" in trace


def test_a_damaged_script_is_not_run(tmp_path: Path) -> None:
    with driven(tmp_path) as runner:
        runner.host(main_name="s.py", main_source=b"def f(): return 1", main_sha256="0" * 64)
        runner.wait(frames.Loaded)
        assert "did not arrive as it was sent" in failure_of(runner, "__main__:f").message


HANDLER = """
class Model:
    def load(self):
        print("loading weights")
        self.factor = 10
    def __call__(self, x):
        return x * self.factor

class Broken:
    def load(self):
        raise OSError("weights are missing")
"""


def test_a_handler_is_loaded_once_and_called_often(tmp_path: Path) -> None:
    with driven(tmp_path) as runner:
        runner.host(HANDLER, handler="code_under_test:Model")
        runner.wait(frames.Loaded)
        assert [10, 20] == [runner.value("", 1), runner.value("", 2)]
        log = (runner.directory / "worker.log").read_text()
        assert 1 == log.count("loading weights")


def test_a_handler_that_cannot_load_is_model_unavailable(tmp_path: Path) -> None:
    with driven(tmp_path) as runner:
        call = runner.call("", 1)
        runner.host(HANDLER, handler="code_under_test:Broken")
        runner.send_calls(call)
        ended = runner.wait(frames.WorkerEnded)
        assert ("load_failed", "model_unavailable") == (ended.how, ended.failure["code"])
        assert "weights are missing" in ended.failure["traceback"]
        status, failure = runner.failure(call)
        assert (frames.RETURNED, "model_unavailable") == (status, failure.code)


def test_a_handler_class_that_is_not_there_is_code_missing(tmp_path: Path) -> None:
    with driven(tmp_path) as runner:
        runner.host(HANDLER, handler="code_under_test:Nowhere")
        ended = runner.wait(frames.WorkerEnded)
        assert ("load_failed", "code_missing") == (ended.how, ended.failure["code"])


def test_an_interpreter_that_is_not_there_is_said(tmp_path: Path) -> None:
    with driven(tmp_path) as runner:
        runner.host(python="/no/such/python")
        ended = runner.wait(frames.WorkerEnded)
        assert ("start_failed", "code_missing") == (ended.how, ended.failure["code"])
        assert "/no/such/python" in ended.failure["message"]
        assert 0 == runner.run("true").returncode


def oldest_python() -> str:
    """Return a Python 3.9 where this machine has one, else the one that runs the tests."""
    found = sorted(Path.home().glob(".pyenv/versions/3.9.*/bin/python"))
    return str(found[0]) if found else sys.executable


def test_the_oldest_interpreter_needs_nothing_installed(tmp_path: Path) -> None:
    code = CODE + "def version():\n    return sys.version_info[:2], [1, {2: (3, b'4')}]\n"
    with driven(tmp_path) as runner:
        runner.host(code, python=oldest_python())
        runner.wait(frames.Loaded)
        version, value = runner.value("version")
        assert [1, {2: (3, b"4")}] == value
        assert version >= (3, 9)


def test_the_runtime_shadows_no_module_of_the_user(tmp_path: Path) -> None:
    code = "import sys\ndef path():\n    return list(sys.path)\n"
    with driven(tmp_path) as runner:
        runner.host(code)
        runner.wait(frames.Loaded)
        path = runner.value("path")
        assert str(tmp_path / "code") == path[0]
        assert str(runner.runtime) not in path
