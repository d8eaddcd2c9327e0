"""Does a runner run one command as promised: environment, output, exit code, and nothing left?"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

from remuda.node import outputs
from remuda.worker import frames

from ..fakes.runner_driver import Driver, wait_until


def test_a_command_reports_its_exit_code_and_both_streams(runner: Driver) -> None:
    done = runner.run("echo out; echo err >&2; exit 3")
    assert ("exit", 3, b"out\n", b"err\n") == (
        done.how,
        done.returncode,
        done.out_inline,
        done.err_inline,
    )


def test_a_command_killed_by_a_signal_reports_it_as_a_negative_code(runner: Driver) -> None:
    assert -11 == runner.run("kill -SEGV $$").returncode


def test_a_command_runs_in_its_own_directory_with_the_given_environment(runner: Driver) -> None:
    run = runner.start("pwd; env | sort", env={"PATH": "/usr/bin:/bin", "COLOR": "blue"})
    text = runner.finished(run).out_inline.decode()
    work = str(runner.folder(run.task) / "work")
    lines = text.splitlines()
    assert work == lines[0]
    names = {line.partition("=")[0] for line in lines[1:]} - {"PWD", "OLDPWD", "SHLVL", "_"}
    ours = {"REMUDA_ATTEMPT", "REMUDA_RUNNER", "REMUDA_TASK_DIR", "REMUDA_PROGRESS"}
    assert {"PATH", "COLOR"} | ours == names
    assert f"REMUDA_ATTEMPT={run.task.hex()}.1" in lines


def test_signals_that_the_runner_ignores_work_again_in_a_command(runner: Driver) -> None:
    done = runner.run("grep -E 'Sig(Ign|Blk)' /proc/self/status")
    # 32 and 33 belong to the C library, which lets nobody change them.
    masks = [int(line.split()[1], 16) for line in done.out_inline.decode().splitlines()]
    assert [0, 0] == [mask & ~(0b11 << 31) for mask in masks]


def test_no_descriptor_of_the_runner_reaches_a_command(runner: Driver) -> None:
    done = runner.run("ls /proc/self/fd")
    # 3 is the directory that ls itself opened.
    assert ["0", "1", "2", "3"] == done.out_inline.decode().split()


def test_a_missing_executable_is_named_apart_from_an_exit_code(runner: Driver) -> None:
    done = runner.run("no-such-program", "x", env={"PATH": "/usr/bin"})
    assert ("executable_not_found", None) == (done.how, done.returncode)
    assert "executable not found: no-such-program in PATH=/usr/bin" == done.message


def test_a_missing_working_directory_is_named_apart(runner: Driver) -> None:
    done = runner.run("true", cwd="/no/such/place")
    assert ("cwd_missing", None) == (done.how, done.returncode)
    assert "/no/such/place" in done.message


def test_a_script_without_an_interpreter_line_is_explained(runner: Driver, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("echo hi\n")
    script.chmod(0o755)
    done = runner.run(str(script), "argument")
    assert "spawn_failed" == done.how
    assert "no #! line" in done.message


def test_the_executable_is_looked_up_in_the_path_of_the_task(
    runner: Driver, tmp_path: Path
) -> None:
    program = tmp_path / "bin" / "greet"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho hello $1\n")
    program.chmod(0o755)
    done = runner.run("greet", "you", env={"PATH": f"{program.parent}:/usr/bin:/bin"})
    assert b"hello you\n" == done.out_inline


def test_standard_input_comes_from_bytes_or_a_file_or_nowhere(
    runner: Driver, tmp_path: Path
) -> None:
    (tmp_path / "in").write_bytes(b"from a file")
    assert b"given" == runner.run("cat", stdin_blob=b"given").out_inline
    assert b"from a file" == runner.run("cat", stdin_path=str(tmp_path / "in")).out_inline
    assert b"" == runner.run("cat").out_inline
    assert "stdin_missing" == runner.run("cat", stdin_path="/no/file").how


def test_a_long_running_command_is_said_to_have_started(runner: Driver) -> None:
    run = runner.start("sleep 0.3")
    assert run.task == runner.wait(frames.Started).task
    assert 0 == runner.finished(run).returncode


def test_ten_megabytes_of_output_are_kept_within_the_bound_with_their_end(
    runner: Driver,
) -> None:
    run = runner.start("seq 1 1400000", output_bytes_max=1 << 20)
    done = runner.finished(run)
    whole = b"".join(b"%d\n" % number for number in range(1, 1400001))
    assert len(whole) == done.out_bytes
    assert 1 << 20 == (runner.folder(run.task) / "out").stat().st_size
    seen = outputs.summary(runner.directory, run.task, 1, "out")
    assert (whole[: 64 << 10], whole[-(64 << 10) :]) == (seen.head, seen.tail)
    assert len(whole) - (128 << 10) == seen.cut


def test_a_silent_command_makes_no_output_files(runner: Driver) -> None:
    run = runner.start("true")
    runner.finished(run)
    assert {"run.json", "result.json", "work"} == {
        path.name for path in runner.folder(run.task).iterdir()
    }


def test_output_is_readable_while_the_command_runs(runner: Driver) -> None:
    run = runner.start("echo early; sleep 60")
    grown = runner.wait(frames.OutputGrew)
    assert 6 == grown.out_bytes
    assert b"early\n" == outputs.read(runner.directory, run.task, 1, "out", 0, 100).data
    runner.link.send(frames.Cancel(run.task, 1, 0.0))
    assert "cancelled" == runner.finished(run).how


def test_progress_written_to_the_file_is_reported(runner: Driver) -> None:
    run = runner.start("echo 0.4 step 8/20 > $REMUDA_PROGRESS; sleep 60")
    said = runner.wait(frames.Progress)
    assert (run.task, 0.4, "step 8/20") == (said.task, said.fraction, said.text)
    runner.link.send(frames.Cancel(run.task, 1, 0.0))
    runner.finished(run)


def test_progress_of_a_short_command_is_reported_before_its_end(runner: Driver) -> None:
    run = runner.start("echo 0.9 nearly >> $REMUDA_PROGRESS")
    said = runner.wait(frames.Progress)
    assert (0.9, "nearly") == (said.fraction, said.text)
    runner.finished(run)


def test_a_timeout_ends_the_command_with_its_own_word(runner: Driver) -> None:
    done = runner.run("sleep 60", timeout_s=0.2, grace_s=1.0)
    assert ("timeout", -15) == (done.how, done.returncode)


def test_a_cancelled_tree_of_detached_processes_is_gone_when_it_is_said(runner: Driver) -> None:
    run = runner.start(
        "setsid sleep 1000 & (setsid sh -c 'sleep 1000 & sleep 1000' &) ; "
        "env -i sleep 1000 & echo ready; sleep 1000"
    )
    runner.wait(frames.OutputGrew)
    wait_until(lambda: len(runner.processes()) >= 5, "the tree")
    runner.link.send(frames.Cancel(run.task, 1, 5.0))
    assert "cancelled" == runner.finished(run).how
    assert [] == runner.processes()


def test_a_tree_that_ignores_term_is_killed_after_the_grace(runner: Driver) -> None:
    run = runner.start("trap '' TERM; (trap '' TERM; sleep 1000) & echo ready; sleep 1000; sleep 9")
    runner.wait(frames.OutputGrew)
    runner.link.send(frames.Cancel(run.task, 1, 0.3))
    done = runner.finished(run)
    assert ("cancelled", -9) == (done.how, done.returncode)
    assert done.run_ns >= 0.3e9


FORKING = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(8):
    if os.fork() == 0:
        while os.fork() == 0:
            os.setsid()
            time.sleep(0.002)
        os._exit(0)
print("forking", flush=True)
time.sleep(1000)
"""


def test_a_tree_that_forks_while_it_is_killed_is_gone(runner: Driver) -> None:
    run = runner.start(sys.executable, "-c", FORKING)
    runner.wait(frames.OutputGrew)
    runner.link.send(frames.Cancel(run.task, 1, 0.0))
    assert "cancelled" == runner.finished(run).how
    assert [] == runner.processes()


def test_a_command_may_clean_up_within_the_grace(runner: Driver) -> None:
    run = runner.start("trap 'echo cleaned; exit 7' TERM; echo ready; while :; do sleep 0.05; done")
    runner.wait(frames.OutputGrew)
    runner.link.send(frames.Cancel(run.task, 1, 10.0))
    done = runner.finished(run)
    assert ("cancelled", 7, b"ready\ncleaned\n") == (done.how, done.returncode, done.out_inline)


def test_leftovers_of_a_normal_end_are_killed_and_counted(runner: Driver) -> None:
    done = runner.run("sleep 1000 & setsid sleep 1000 & sleep 0.2; exit 4")
    assert ("exit", 4, 2) == (done.how, done.returncode, done.leftovers)
    assert [] == runner.processes()


def test_a_leftover_that_holds_the_pipe_does_not_delay_the_end(runner: Driver) -> None:
    done = runner.run("echo said; sleep 1000 & exit 0")
    assert (0, b"said\n") == (done.returncode, done.out_inline)


def test_a_repeated_order_is_answered_and_not_run_again(runner: Driver, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    run = runner.start(f"echo once >> {trace}; sleep 0.1")
    runner.link.send(run)
    first = runner.finished(run)
    runner.link.send(run)
    assert first == runner.finished(run)
    runner.link.send(frames.Ack([], [[run.task.hex(), 1]]))
    runner.link.send(run)
    assert "known" == runner.wait(frames.Refused).code
    assert "once\n" == trace.read_text()


def test_a_second_command_is_refused_while_one_runs(runner: Driver) -> None:
    first = runner.start("sleep 1000")
    second = runner.start("true")
    refused = runner.wait(frames.Refused)
    assert ("busy", second.task) == (refused.code, refused.task)
    runner.link.send(frames.Cancel(first.task, 1, 0.0))
    runner.finished(first)


def test_cancelling_what_is_not_here_is_said(runner: Driver) -> None:
    task = secrets.token_bytes(16)
    runner.link.send(frames.Cancel(task, 1))
    refused = runner.wait(frames.Refused)
    assert ("unknown", task) == (refused.code, refused.task)


def test_an_acknowledged_result_leaves_the_disk_but_its_output_stays(runner: Driver) -> None:
    run = runner.start("echo kept")
    runner.finished(run)
    runner.link.send(frames.Ack([], [[run.task.hex(), 1]]))
    folder = runner.folder(run.task)
    wait_until(lambda: not (folder / "result.json").exists(), "the removal")
    assert b"kept\n" == outputs.read(runner.directory, run.task, 1, "out", 0, 100).data
