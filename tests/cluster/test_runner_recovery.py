"""What remains of a runner that was killed: its tree is killed, its answers are read?"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from remuda.node import link, recovery
from remuda.worker import frames, values

from ..fakes.runner_driver import ENV, Driver, wait_until


def test_a_killed_runner_leaves_a_tree_that_recovery_kills_and_reports_lost(
    runner: Driver,
) -> None:
    run = runner.start("setsid sleep 1000 & env -i /bin/sleep 1000 & echo ready; sleep 1000")
    runner.wait(frames.OutputGrew)
    wait_until(lambda: len(runner.processes()) >= 3, "the tree")
    runner.kill_runner()
    assert [runner.directory] == link.scan(runner.runners).dead
    found = recovery.recover(runner.directory)
    assert ([(run.task, 1)], [], 0) == (found.lost, found.finished, found.stuck)
    assert found.killed >= 4
    assert [] == runner.processes()
    recovery.remove(runner.directory)
    assert [] == link.scan(runner.runners).dead


def test_answers_of_a_killed_runner_are_read_from_its_directory(runner: Driver) -> None:
    run = runner.start("echo done; exit 3")
    done = runner.finished(run)
    runner.kill_runner()
    found = recovery.recover(runner.directory)
    assert ([done], []) == (found.finished, found.lost)


def test_an_acknowledged_answer_is_not_reported_again(runner: Driver) -> None:
    run = runner.start("true")
    runner.finished(run)
    runner.link.send(frames.Ack([], [[run.task.hex(), 1]]))
    runner.link.send(frames.Status())
    runner.wait(frames.Hello)
    runner.kill_runner()
    found = recovery.recover(runner.directory)
    assert ([], []) == (found.finished, found.lost)


def test_results_of_calls_survive_their_runner_and_its_worker_is_killed(runner: Driver) -> None:
    runner.host("import time\ndef fast(x):\n    return x + 1\ndef slow():\n    time.sleep(1000)\n")
    runner.wait(frames.Loaded)
    fast, slow = runner.call("fast", 1), runner.call("slow")
    runner.send_calls(fast, slow)
    runner.outcomes(fast)
    runner.wait(frames.Started)
    runner.kill_runner()
    found = recovery.recover(runner.directory)
    (outcome,) = found.results[0].outcomes
    assert (fast.task, 2) == (outcome.task, values.decode(outcome.body))
    assert 1 == found.killed
    assert [] == runner.processes()


def test_an_order_that_never_reached_the_runner_leaves_no_trace(runner: Driver) -> None:
    os.kill(runner.hello.pid, signal.SIGSTOP)
    runner.start("true")
    runner.kill_runner()
    found = recovery.recover(runner.directory)
    assert ([], [], []) == (found.lost, found.finished, found.results)


def test_a_stranger_that_merely_mentions_the_runner_is_left_alone(runner: Driver) -> None:
    mark = f"X=REMUDA_RUNNER={runner.directory.name}"
    stranger = os.posix_spawn("/bin/sleep", ["sleep", "1000"], {**ENV, "NOTE": mark})
    try:
        runner.kill_runner()
        assert 0 == recovery.recover(runner.directory).killed
        assert (0, 0) == os.waitpid(stranger, os.WNOHANG)
    finally:
        os.kill(stranger, signal.SIGKILL)
        os.waitpid(stranger, 0)


def test_another_boot_loses_attempts_and_kills_nobody(runner: Driver) -> None:
    run = runner.start("sleep 1000")
    runner.wait(frames.Started)
    runner.kill_runner()
    identity = runner.directory / "runner.json"
    text = identity.read_text()
    identity.write_text(text.replace(runner.hello.boot_id, "another-boot"))
    found = recovery.recover(runner.directory)
    assert (True, 0, [(run.task, 1)]) == (found.rebooted, found.killed, found.lost)
    identity.write_text(text)


def test_a_directory_that_is_gone_recovers_to_nothing(tmp_path: Path) -> None:
    found = recovery.recover(tmp_path / "none")
    assert ([], [], 0) == (found.finished, found.lost, found.killed)
