"""Can one reach into a task that runs: signal it, see its stack, run a command beside it?"""

from __future__ import annotations

import resource
import secrets
import signal
from pathlib import Path
from typing import Any

import pytest

from remuda.worker import asks, frames, values

from ..fakes.runner_driver import ENV, Driver, living_with, wait_until

CODE = """
import os, re, signal, time

def stuck():
    time.sleep(1000)

def counts_usr1(folder):
    seen = []
    signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
    open(folder + "/ready", "w").close()
    while not seen:
        time.sleep(0.01)
    return len(seen)

def hold_the_interpreter():
    re.match(r"(a+)+$", "a" * 64 + "b")

def until(path):
    while not os.path.exists(path):
        time.sleep(0.01)
    return "done"
"""


@pytest.fixture
def worker(runner: Driver) -> Driver:
    runner.host(CODE, grace_s=0.2)
    runner.wait(frames.Loaded)
    return runner


def ask(runner: Driver, kind: Any, task: bytes, *args: Any) -> frames.Answer:
    request = secrets.randbits(48)
    runner.link.send(kind(request, task, 1, *args))
    return runner.wait(frames.Answer, lambda answer: answer.request == request)


def begin(runner: Driver, line: str, **order: Any) -> frames.Run:
    """Start a shell line and wait for its first output."""
    run = runner.start(line, **order)
    runner.wait(frames.OutputGrew)
    return run


def cancel(runner: Driver, run: frames.Run) -> None:
    runner.link.send(frames.Cancel(run.task, 1, 0.0))
    runner.finished(run)


def test_an_agent_of_the_protocol_before_is_let_in(runner: Driver) -> None:
    assert (1, frames.PROTOCOL) == (runner.hello.protocol, runner.hello.newest)


def test_a_signal_reaches_a_command_that_catches_it(runner: Driver) -> None:
    line = "trap 'echo caught; exit 3' USR1; echo ready; while :; do sleep 0.05; done"
    run = begin(runner, line)
    assert "" == ask(runner, frames.Signal, run.task, signal.SIGUSR1).code
    done = runner.finished(run)
    assert (3, b"ready\ncaught\n") == (done.returncode, done.out_inline)


def test_a_stop_and_a_continue_reach_the_whole_tree(runner: Driver) -> None:
    run = begin(runner, "setsid sleep 1000 & echo ready; sleep 1000")
    pids = wait_until(lambda: len(runner.processes()) == 3 and runner.processes(), "the tree")
    ask(runner, frames.Signal, run.task, signal.SIGSTOP)
    wait_until(lambda: {"T"} == {state_of(pid) for pid in pids}, "the stop")
    ask(runner, frames.Signal, run.task, signal.SIGCONT)
    wait_until(lambda: {"S"} == {state_of(pid) for pid in pids}, "the continuation")
    cancel(runner, run)


def state_of(pid: int) -> str:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return stat[stat.rindex(")") + 2]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, 0, 999])
def test_a_signal_that_says_nothing_to_a_task_is_not_sent(runner: Driver, number: int) -> None:
    run = begin(runner, "echo ready; sleep 1000")
    assert "not_allowed" == ask(runner, frames.Signal, run.task, number).code
    cancel(runner, run)


def test_a_signal_reaches_a_call_while_it_runs(worker: Driver, tmp_path: Path) -> None:
    call = worker.call("counts_usr1", str(tmp_path))
    worker.send_calls(call)
    wait_until((tmp_path / "ready").exists, "the call")
    assert "" == ask(worker, frames.Signal, call.task, signal.SIGUSR1).code
    (outcome,) = worker.outcomes(call)
    assert 1 == values.decode(outcome.body)


def test_a_call_that_waits_is_not_signalled_and_its_neighbour_is_spared(
    worker: Driver, tmp_path: Path
) -> None:
    path = tmp_path / "go"
    busy, waiting = worker.call("until", str(path)), worker.call("until", str(path))
    worker.send_calls(busy, waiting)
    worker.wait(frames.Started)
    assert "not_running" == ask(worker, frames.Signal, waiting.task, signal.SIGTERM).code
    path.touch()
    assert [frames.OK] * 2 == [each.status for each in worker.outcomes(busy, waiting)]


@pytest.mark.parametrize(
    ("kind", "args"), [(frames.Signal, [10]), (frames.Stack, []), (frames.Exec, [["true"]])]
)
def test_what_is_asked_of_a_task_that_is_not_here_is_answered(
    runner: Driver, kind: Any, args: list[Any]
) -> None:
    assert "not_running" == ask(runner, kind, secrets.token_bytes(16), *args).code


def test_the_stack_of_a_running_call_names_where_it_is(worker: Driver) -> None:
    call = worker.call("stuck")
    worker.send_calls(call)
    worker.wait(frames.Started)
    for _ in range(2):  # the second must not hold the first
        text = ask(worker, frames.Stack, call.task).out.decode()
        assert 1 == text.count("in stuck")
        assert "remuda/worker" not in text
    worker.link.send(frames.Cancel(call.task, 1, 0.0))
    worker.outcomes(call)


def test_the_stack_of_a_call_that_never_lets_the_interpreter_go_is_taken(worker: Driver) -> None:
    call = worker.call("hold_the_interpreter")
    worker.send_calls(call)
    worker.wait(frames.Started)
    assert b"in hold_the_interpreter" in ask(worker, frames.Stack, call.task).out
    worker.link.send(frames.Cancel(call.task, 1, 0.0))
    worker.outcomes(call)


def test_the_stack_of_a_stopped_worker_is_said_to_be_missing(worker: Driver) -> None:
    call = worker.call("stuck")
    worker.send_calls(call)
    worker.wait(frames.Started)
    ask(worker, frames.Signal, call.task, signal.SIGSTOP)
    assert "no_stack" == ask(worker, frames.Stack, call.task).code
    worker.link.send(frames.Cancel(call.task, 1, 0.0))
    worker.outcomes(call)


def test_a_command_has_no_python_stack(runner: Driver) -> None:
    run = begin(runner, "echo ready; sleep 1000")
    assert "not_python" == ask(runner, frames.Stack, run.task).code
    cancel(runner, run)


def test_a_command_beside_a_task_shares_environment_directory_and_devices(
    runner: Driver, tmp_path: Path
) -> None:
    env = {**ENV, "CUDA_VISIBLE_DEVICES": "GPU-7", "COLOR": "blue"}
    run = begin(runner, "echo ready; sleep 1000", env=env, cwd=str(tmp_path))
    line = "pwd; echo $CUDA_VISIBLE_DEVICES $COLOR $REMUDA_ATTEMPT; echo err >&2; exit 3"
    answer = ask(runner, frames.Exec, run.task, ["sh", "-c", line])
    expected = f"{tmp_path}\nGPU-7 blue {run.task.hex()}.1\n".encode()
    assert ("", 3, expected, b"err\n") == (answer.code, answer.returncode, answer.out, answer.err)
    cancel(runner, run)


def test_a_command_beside_a_call_ends_with_the_call(worker: Driver, tmp_path: Path) -> None:
    path, said = tmp_path / "go", tmp_path / "said"
    call = worker.call("until", str(path))
    worker.send_calls(call)
    worker.wait(frames.Started)
    line = f"echo in; touch '{said}'; sleep 1000"
    worker.link.send(frames.Exec(7, call.task, 1, ["sh", "-c", line]))
    wait_until(said.exists, "the command")
    path.touch()
    worker.outcomes(call)
    answer = worker.wait(frames.Answer)
    assert (7, "ended", -9, b"in\n") == (
        answer.request, answer.code, answer.returncode, answer.out,
    )  # fmt: skip
    wait_until(lambda: 1 == len(worker.processes()), "the end of the command and its child")


def test_a_command_beside_a_task_has_its_time(runner: Driver) -> None:
    run = begin(runner, "echo ready; sleep 1000")
    line = "echo in; sleep 1000 & sleep 1000"
    answer = ask(runner, frames.Exec, run.task, ["sh", "-c", line], None, 0.2)
    assert ("timeout", b"in\n") == (answer.code, answer.out)
    assert "ran longer than 0.2 s" in answer.message
    wait_until(lambda: 2 == len(runner.processes()), "the end of its children")
    cancel(runner, run)


def test_a_flood_from_beside_a_task_is_cut_and_counted(runner: Driver) -> None:
    run = begin(runner, "echo ready; sleep 1000")
    answer = ask(runner, frames.Exec, run.task, ["head", "-c", "3000000", "/dev/zero"])
    assert (3_000_000, asks.EXEC_OUTPUT_BYTES_MAX) == (answer.out_bytes, len(answer.out))
    cancel(runner, run)


def test_the_end_of_a_task_takes_what_runs_beside_it_along(runner: Driver) -> None:
    run = begin(runner, "echo ready; sleep 0.5")
    runner.link.send(frames.Exec(7, run.task, 1, ["sleep", "1000"]))
    assert ("exit", 0) == runner.finished(run)[2:4]
    assert (7, -9) == runner.wait(frames.Answer)[0:4:3]
    assert [] == runner.processes()


def test_a_command_that_cannot_start_beside_a_task_is_explained(runner: Driver) -> None:
    run = begin(runner, "echo ready; sleep 1000")
    answer = ask(runner, frames.Exec, run.task, ["no-such-tool"])
    assert ("not_started", True) == (answer.code, "no-such-tool" in answer.message)
    cancel(runner, run)


@pytest.mark.parametrize("spare", [0, 2, 5])
def test_a_runner_out_of_descriptors_says_so_and_its_task_goes_on(
    runner: Driver, spare: int
) -> None:
    run = begin(runner, "echo ready; sleep 1000")
    open_now = max(int(path.name) for path in Path(f"/proc/{runner.hello.pid}/fd").iterdir())
    hard = resource.prlimit(runner.hello.pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(runner.hello.pid, resource.RLIMIT_NOFILE, (open_now + 1 + spare, hard))
    assert "not_started" == ask(runner, frames.Exec, run.task, ["true"]).code
    resource.prlimit(runner.hello.pid, resource.RLIMIT_NOFILE, (hard, hard))
    assert "" == ask(runner, frames.Exec, run.task, ["true"]).code
    cancel(runner, run)


def test_only_some_run_beside_a_task_at_a_time(runner: Driver) -> None:
    run = begin(runner, "echo ready; sleep 1000")
    for request in range(4):
        runner.link.send(frames.Exec(request, run.task, 1, ["sleep", "1000"]))
    assert "busy" == ask(runner, frames.Exec, run.task, ["true"]).code
    cancel(runner, run)
    assert [] == living_with(f"REMUDA_ATTEMPT={run.task.hex()}.1")
