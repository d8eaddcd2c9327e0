"""Does a real agent run commands, and keep its word to its scheduler?"""

import signal
import subprocess
import time

import psutil
import pytest

from remuda.protocol import codec
from remuda.protocol import messages as m
from remuda.protocol.messages import Outcome

from ..fakes.node_driver import (
    FakeScheduler,
    NodeUnderTest,
    call_args,
    document,
    guard,
    new_task,
    node,
)

pytestmark = pytest.mark.cluster

PRINTER = "i=0; while [ $i -lt 40 ]; do echo line $i; i=$((i+1)); sleep 0.05; done; exit 3"
LINES = "".join(f"line {number}\n" for number in range(40)).encode()


def sleepers(seconds):
    """Return the living `sleep` processes with this argument."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        if process.info["cmdline"] == ["sleep", seconds] and process.info["status"] != "zombie":
            found.append(process.pid)
    return found


def test_a_command_runs_and_its_output_comes_with_the_result(tmp_path):
    with node(tmp_path) as (scheduler, _):
        task = new_task()
        scheduler.offer(document(kind="command", argv=["echo", "hello"]), task)
        result = scheduler.result(task)
        assert [1] == scheduler.wait_for(m.Accept, task).attempts
    assert (Outcome.SUCCEEDED, 0, b"hello\n", b"t" + task) == (
        result["outcome"],
        result["exit_code"],
        result["out"],
        result["token"],
    )


def test_a_command_sees_a_clean_environment_with_its_names(tmp_path):
    with node(tmp_path, '[tasks.env]\nTEAM = "a"\n') as (scheduler, _):
        task = new_task()
        spec = document(kind="command", argv=["env"], env={"MINE": "1"}, array=True)
        scheduler.offer(spec, task, args=[b"7"])
        lines = scheduler.result(task)["out"].decode().splitlines()
    found = dict(line.split("=", 1) for line in lines)
    assert ("a", "1", "7", "n1", "") == (
        found["TEAM"],
        found["MINE"],
        found["REMUDA_ARRAY_INDEX"],
        found["REMUDA_NODE"],
        found["CUDA_VISIBLE_DEVICES"],
    )
    assert set() == {name for name in found if "SECRET" in name or name.startswith("PYTEST")}


def test_a_missing_executable_fails_as_shells_say_it(tmp_path):
    with node(tmp_path) as (scheduler, _):
        task = new_task()
        scheduler.offer(document(kind="command", argv=["no-such-thing-here"]), task)
        result = scheduler.result(task)
    assert (Outcome.FAILED, "exit_code", 127) == (
        result["outcome"],
        result["code"],
        result["exit_code"],
    )


def test_a_timeout_a_standard_input_and_a_directory_are_honoured(tmp_path):
    with node(tmp_path) as (scheduler, _):
        slow, fed = new_task(), new_task()
        spec = document(kind="command", argv=["sleep", "4716"], timeout_ms=300, grace_ms=100)
        scheduler.offer(spec, slow)
        script = "pwd; cat; echo late >&2; kill -9 $$"
        spec = document(
            kind="command", argv=["sh", "-c", script], stdin=b"input", cwd=str(tmp_path)
        )
        scheduler.offer(spec, fed)
        late, killed = scheduler.result(slow), scheduler.result(fed)
    assert (Outcome.FAILED, "timeout") == (late["outcome"], late["code"])
    assert (f"{tmp_path}\ninput".encode(), b"late\n", 9, 137) == (
        killed["out"],
        killed["err"],
        killed["signal"],
        killed["exit_code"],
    )


def test_progress_of_a_command_is_passed_on(tmp_path):
    with node(tmp_path) as (scheduler, _):
        task = new_task()
        script = "echo 0.4 step 8/20 > $REMUDA_PROGRESS; sleep 4717"
        scheduler.offer(document(kind="command", argv=["sh", "-c", script]), task)
        said = scheduler.wait_for(m.Progress, task)
    assert ([400], ["step 8/20"]) == (said.milli, said.texts)


def test_a_kill_ends_the_whole_tree_before_it_is_said(tmp_path):
    with node(tmp_path) as (scheduler, _):
        task = new_task()
        script = "sleep 4711 & setsid sleep 4711 & sleep 4711"
        scheduler.offer(document(kind="command", argv=["sh", "-c", script]), task)
        scheduler.wait_for(m.Started, task)
        assert 3 == len(scheduler.wait(lambda: len(sleepers("4711")) == 3 and sleepers("4711")))
        scheduler.say(m.Kill(scheduler.incarnation, [task], [1], [200], ["cancelled"]))
        result = scheduler.result(task)
        left = sleepers("4711")
    assert (Outcome.KILLED, []) == (result["outcome"], left)


def test_an_agent_that_was_killed_is_succeeded_by_one_that_adopts_its_command(tmp_path):
    with node(tmp_path) as (scheduler, agent):
        task = new_task()
        scheduler.offer(document(kind="command", argv=["sh", "-c", PRINTER]), task)
        scheduler.wait_for(m.Started, task)
        first = scheduler.incarnation
        agent.kill()
        scheduler.living = [(task, 1)]
        agent.start()
        register = scheduler.registers[-1]
        assert ([task], [1], [b"t" + task]) == (
            register.tasks,
            register.attempts,
            register.tokens,
        )
        result = scheduler.result(task)
    assert first != register.incarnation
    assert (Outcome.FAILED, 3, LINES) == (
        result["outcome"],
        result["exit_code"],
        result["out"],
    )


def test_a_result_that_nobody_acknowledged_is_reported_by_the_next_agent(tmp_path):
    with node(tmp_path) as (scheduler, agent):
        scheduler.acks = False
        task = new_task()
        scheduler.offer(document(kind="command", argv=["echo", "once"]), task)
        scheduler.result(task)
        agent.kill()
        scheduler.heard.clear()
        scheduler.acks = True
        scheduler.living = [(task, 1)]
        agent.start()
        assert b"once\n" == scheduler.result(task)["out"]
        scheduler.wait(lambda: any(not beat.tasks for beat in scheduler.all_of(m.Heartbeat)))


def test_what_the_scheduler_does_not_want_any_more_is_ended_at_registration(tmp_path):
    with node(tmp_path) as (scheduler, agent):
        task = new_task()
        scheduler.offer(document(kind="command", argv=["sleep", "4712"], grace_ms=100), task)
        scheduler.wait_for(m.Started, task)
        agent.kill()
        agent.start()
        result = scheduler.result(task)
        assert (Outcome.KILLED, []) == (result["outcome"], sleepers("4712"))


def test_a_killed_runner_is_reported_as_the_nodes_fault(tmp_path):
    with node(tmp_path) as (scheduler, agent):
        task = new_task()
        scheduler.offer(document(kind="command", argv=["sleep", "4713"]), task)
        scheduler.wait_for(m.Started, task)
        mark = str(agent.runners_dir)
        for process in psutil.process_iter(["cmdline"]):
            if any(mark in part for part in process.info["cmdline"] or []):
                process.kill()
        result = scheduler.result(task)
        assert (Outcome.FAILED, "node_lost", []) == (
            result["outcome"],
            result["code"],
            sleepers("4713"),
        )


def test_an_offer_that_comes_twice_runs_once(tmp_path):
    with node(tmp_path) as (scheduler, _):
        task, log = new_task(), tmp_path / "log"
        spec = document(kind="command", argv=["sh", "-c", f"echo x >> {log}; sleep 0.3"])
        scheduler.offer(spec, task)
        scheduler.offer(spec, task)
        scheduler.result(task)
        scheduler.acks = False
        scheduler.offer(spec, task)
        time.sleep(0.5)
        scheduler.turn()
        assert 1 == len(log.read_text().splitlines())


def test_what_does_not_fit_is_rejected_with_the_reason(tmp_path):
    with node(tmp_path) as (scheduler, _):
        first, second = new_task(), new_task()
        spec = document(kind="command", argv=["sleep", "4714"], cpus_milli=2000)
        scheduler.offer(spec, first)
        scheduler.offer(spec, second)
        rejected = scheduler.wait_for(m.Reject, second)
    assert (["2 CPUs asked, 0 free"], [b"t" + second]) == (rejected.reasons, rejected.tokens)


def test_output_is_handed_out_while_a_command_runs_and_after(tmp_path):
    with node(tmp_path) as (scheduler, _):
        task = new_task()
        spec = document(kind="command", argv=["sh", "-c", "echo one; sleep 1; echo two"])
        scheduler.offer(spec, task)
        scheduler.wait_for(m.Started, task)
        early = scheduler.fetch(task)
        scheduler.result(task)
        scheduler.wait(lambda: not scheduler.all_of(m.Heartbeat)[-1].tasks)
        late = scheduler.fetch(task, offset=4)
        unknown = scheduler.fetch(new_task())
    assert (b"one\n", False) == (early.data, early.ended)
    assert (b"two\n", 8, True) == (late.data, late.total, late.ended)
    assert "not_found" == unknown.error


def test_garbage_on_dispatch_is_counted_and_harms_nobody(tmp_path):
    with node(tmp_path) as (scheduler, agent):
        task = new_task()
        for frame in (b"", b"\x93", b"\xff" * 1000, codec.encode(m.ListKeys(), 1)):
            scheduler.say_bytes(frame)
        spec = document(kind="command", argv=["true"])
        scheduler.offer(spec, new_task(), incarnation=b"x" * 16)
        scheduler.offer(b"\x01", new_task())
        scheduler.offer(spec, new_task(), epoch=0)
        scheduler.offer(spec, task)
        assert Outcome.SUCCEEDED == scheduler.result(task)["outcome"]
        agent.signal(signal.SIGTERM)
        line = agent.log.read_text().splitlines()[-1]
    assert '"garbage": 3' in line
    assert '"old_epoch": 1' in line
    assert '"other_incarnation": 1' in line


def test_a_term_leaves_the_command_to_the_next_agent(tmp_path):
    with node(tmp_path) as (scheduler, agent):
        task = new_task()
        scheduler.offer(document(kind="command", argv=["sh", "-c", PRINTER]), task)
        scheduler.wait_for(m.Started, task)
        assert 0 == agent.signal(signal.SIGTERM)
        scheduler.living = [(task, 1)]
        agent.start()
        assert LINES == scheduler.result(task)["out"]


def test_an_interrupt_hands_everything_back_and_leaves_nothing(tmp_path):
    with node(tmp_path) as (scheduler, agent):
        task = new_task()
        scheduler.offer(document(kind="command", argv=["sleep", "4715"]), task)
        scheduler.wait_for(m.Started, task)
        status = agent.signal(signal.SIGINT)
        result = scheduler.result(task)
        mark = str(agent.runners_dir)
        runners = [p for p in psutil.process_iter() if any(mark in part for part in cmdline(p))]
        assert (0, Outcome.RETURNED, [], []) == (
            status,
            result["outcome"],
            sleepers("4715"),
            runners,
        )


def cmdline(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_a_scheduler_that_starts_anew_is_registered_with_again(tmp_path):
    with node(tmp_path) as (scheduler, _):
        scheduler.wait_for(m.Heartbeat)
        scheduler.epoch = 2

        def known():
            beacon = m.Beacon("test", 0, 50)
            scheduler.sockets["beacon"].send(codec.encode(beacon, scheduler.epoch))
            return len(scheduler.registers) > 1

        scheduler.wait(known)
        task = new_task()
        scheduler.offer(document(kind="command", argv=["true"]), task)
        assert Outcome.SUCCEEDED == scheduler.result(task)["outcome"]


def test_a_key_that_is_refused_is_tried_again_until_it_is_let_in(tmp_path):
    scheduler = FakeScheduler()
    guard(scheduler)
    under_test = NodeUnderTest(tmp_path, scheduler, wait=False)
    try:
        scheduler.wait(lambda: scheduler.refused >= 2)
        scheduler.zap.close()
        scheduler.zap = None
        scheduler.wait(lambda: scheduler.registers)
        log = under_test.log.read_text()
    finally:
        under_test.leave_nothing()
        scheduler.close()
    assert 1 == log.count("our key was refused")


def test_a_second_agent_of_the_same_node_refuses_to_start(tmp_path):
    with node(tmp_path) as (_, agent):
        second = subprocess.run(
            agent.command(), capture_output=True, text=True, timeout=30, check=False
        )
    assert second.returncode != 0
    assert "another agent runs" in second.stderr


def test_calls_run_once_each_while_their_agent_is_killed_again_and_again(tmp_path):
    (tmp_path / "lib").mkdir()
    code = "def note(path, i):\n    with open(path, 'a') as f:\n        f.write(f'{i}\\n')\n"
    (tmp_path / "lib" / "noting.py").write_text(code)
    log = tmp_path / "log"
    config = f'python_path = ["{tmp_path / "lib"}"]\n'
    spec = document(kind="function", target="noting:note")
    waiting = {new_task(): number for number in range(600)}
    wanted = sorted(waiting.values())
    tries = dict.fromkeys(waiting, 1)
    with node(tmp_path, config) as (scheduler, agent):
        for _ in range(4):
            batch = list(waiting)
            for task in batch:
                args = [call_args(str(log), waiting[task])]
                scheduler.offer(spec, task, number=tries[task], args=args, prefetched=True)
            settle(scheduler, waiting, at_least=len(batch) // 4)
            agent.kill()
            # Held results are the next agent's; what no runner had yet is offered anew.
            scheduler.living = [(task, tries[task]) for task in waiting]
            agent.start()
            settle(scheduler, waiting)
            register = scheduler.registers[-1]
            held = set(zip(register.tasks, register.attempts, strict=True))
            for task in waiting:
                tries[task] += (task, tries[task]) not in held
            scheduler.wait(lambda: not held_now(scheduler))
            settle(scheduler, waiting)
        for task in list(waiting):
            args = [call_args(str(log), waiting[task])]
            scheduler.offer(spec, task, number=tries[task], args=args, prefetched=True)
        scheduler.wait(lambda: settle(scheduler, waiting) or not waiting)
    assert wanted == sorted(int(line) for line in log.read_text().splitlines())


def settle(scheduler, waiting, at_least=0):
    """Take the successes that were heard out of what waits."""
    start = len(waiting)

    def enough():
        for results in scheduler.all_of(m.Results):
            for task, outcome in zip(results.tasks, results.outcomes, strict=True):
                if outcome == Outcome.SUCCEEDED:
                    waiting.pop(task, None)
        return start - len(waiting) >= at_least

    scheduler.wait(enough)


def held_now(scheduler):
    beats = [b for b in scheduler.all_of(m.Heartbeat) if b.incarnation == scheduler.incarnation]
    return beats[-1].tasks if beats else [b""]
