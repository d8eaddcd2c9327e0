"""Does a real agent call functions and handlers in warm workers, and take care of their cards?"""

import time

import pytest

from remuda.protocol import messages as m
from remuda.protocol.messages import Outcome

from ..fakes import scenario
from ..fakes.node_driver import FakeScheduler, NodeUnderTest, call_args, document, new_task, node

pytestmark = pytest.mark.cluster

CODE = """
import os, time

def where(_=None):
    return os.getpid(), os.getcwd()

def cards():
    return os.environ["CUDA_VISIBLE_DEVICES"]

def nap(seconds):
    time.sleep(seconds)
    return seconds

def burst(text):
    print(text)
    raise ValueError("no " + text)

class Greeter:
    def load(self):
        self.word = "hello"

    def __call__(self, name):
        return f"{self.word} {name}", os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"]

class Broken:
    def load(self):
        raise RuntimeError("no such model")

    def __call__(self):
        return 1
"""


def config(folder, more=""):
    (folder / "lib").mkdir()
    (folder / "lib" / "project.py").write_text(CODE)
    return f'python_path = ["{folder / "lib"}"]\n{more}'


def function(name, **fields):
    return document(kind="function", target=f"project:{name}", **fields)


def test_a_function_is_called_and_its_value_comes_back(tmp_path):
    with node(tmp_path) as (scheduler, _):
        task = new_task()
        spec = document(kind="function", target="math:hypot")
        scheduler.offer(spec, task, args=[call_args(3.0, 4.0)])
        result = scheduler.result(task)
    assert (Outcome.SUCCEEDED, 5.0) == (result["outcome"], result["value"])


def test_many_calls_share_the_warm_workers_of_the_node(tmp_path):
    with node(tmp_path, config(tmp_path)) as (scheduler, _):
        tasks = [new_task() for _ in range(300)]
        scheduler.offer(function("where"), *tasks, args=[call_args()] * len(tasks), prefetched=True)
        pids = {scheduler.result(task)["value"][0] for task in tasks}
    assert 1 <= len(pids) <= 2


def test_a_failure_carries_code_message_traceback_and_what_was_printed(tmp_path):
    with node(tmp_path, config(tmp_path)) as (scheduler, _):
        task = new_task()
        scheduler.offer(function("burst"), task, args=[call_args("bang")])
        result = scheduler.result(task)
    assert (Outcome.FAILED, "exception", "ValueError: no bang", b"bang\n") == (
        result["outcome"],
        result["code"],
        result["message"],
        result["out"],
    )
    assert "in burst" in result["traceback"]


def test_code_that_is_not_there_is_said_to_be_missing(tmp_path):
    with node(tmp_path) as (scheduler, _):
        task = new_task()
        scheduler.offer(document(kind="function", target="no_such_module:f"), task,
                        args=[call_args()])  # fmt: skip
        assert "code_missing" == scheduler.result(task)["code"]


def test_a_function_of_a_script_comes_as_its_source(tmp_path):
    with node(tmp_path) as (scheduler, _):
        task = new_task()
        source = b"def double(x):\n    return x * 2\n"
        spec = document(
            kind="function", target="__main__:double", source=source, source_name="script.py"
        )
        scheduler.offer(spec, task, args=[call_args(21)])
        assert 42 == scheduler.result(task)["value"]


def test_code_that_was_edited_runs_as_it_is_now(tmp_path):
    with node(tmp_path, config(tmp_path)) as (scheduler, _):
        seen = []
        for answer in ("one", "two, longer"):
            (tmp_path / "lib" / "edited.py").write_text(f"def say():\n    return {answer!r}\n")
            time.sleep(0.6)  # how often a worker looks at its files
            task = new_task()
            spec = document(kind="function", target="edited:say")
            scheduler.offer(spec, task, args=[call_args()])
            seen.append(scheduler.result(task)["value"])
    assert ["one", "two, longer"] == seen


def test_a_running_call_is_killed_and_its_neighbours_go_on(tmp_path):
    with node(tmp_path, config(tmp_path)) as (scheduler, _):
        doomed, other = new_task(), new_task()
        scheduler.offer(function("nap"), doomed, args=[call_args(60)])
        scheduler.wait_for(m.Started, doomed)
        scheduler.say(m.Kill(scheduler.incarnation, [doomed], [1], [100], [""]))
        assert Outcome.KILLED == scheduler.result(doomed)["outcome"]
        scheduler.offer(function("nap"), other, args=[call_args(0)])
        assert Outcome.SUCCEEDED == scheduler.result(other)["outcome"]


def test_calls_behind_a_long_one_move_to_another_worker(tmp_path):
    with node(tmp_path, config(tmp_path)) as (scheduler, _):
        quick = [new_task() for _ in range(40)]
        scheduler.offer(function("nap"), *quick, args=[call_args(0)] * 40, prefetched=True)
        for task in quick:
            scheduler.result(task)
        long, *behind = [new_task() for _ in range(41)]
        scheduler.offer(
            function("nap"), long, *behind, args=[call_args(20)] + [call_args(0)] * 40,
            prefetched=True,
        )  # fmt: skip
        for task in behind:
            assert Outcome.SUCCEEDED == scheduler.result(task)["outcome"]
        assert not any(long in results.tasks for results in scheduler.all_of(m.Results))


def test_a_timeout_ends_a_call(tmp_path):
    with node(tmp_path, config(tmp_path)) as (scheduler, _):
        task = new_task()
        scheduler.offer(function("nap", timeout_ms=300), task, args=[call_args(60)])
        result = scheduler.result(task)
    assert (Outcome.FAILED, "timeout") == (result["outcome"], result["code"])


HANDLERS = """
[handlers.greet]
target = "project:Greeter"
models = ["tiny"]
[handlers.broken]
target = "project:Broken"
"""


def handler_states(scheduler):
    """Return what the last heartbeat that tells says of the handlers."""
    told = [beat for beat in scheduler.all_of(m.Heartbeat) if beat.capabilities]
    if not told:
        return {}
    return {one["name"]: (one["state"], one["error"]) for one in told[-1].capabilities["handlers"]}


def test_a_handler_is_loaded_once_and_called(tmp_path):
    with node(tmp_path, config(tmp_path, HANDLERS)) as (scheduler, _):
        scheduler.wait(lambda: handler_states(scheduler).get("greet", ("", ""))[0] == "ready")
        first, second = new_task(), new_task()
        spec = document(kind="handler", target="greet")
        scheduler.offer(spec, first, args=[call_args("ann")])
        one = scheduler.result(first)["value"]
        scheduler.offer(spec, second, args=[call_args("bob")])
        two = scheduler.result(second)["value"]
    assert ("hello ann", "hello bob", one[1]) == (one[0], two[0], two[1])


def test_a_handler_that_does_not_load_is_told_and_its_calls_are_refused(tmp_path):
    with node(tmp_path, config(tmp_path, HANDLERS)) as (scheduler, _):
        scheduler.wait(lambda: handler_states(scheduler).get("broken", ("", ""))[0] == "failed")
        assert "no such model" in handler_states(scheduler)["broken"][1]
        task = new_task()
        scheduler.offer(document(kind="handler", target="broken"), task, args=[call_args()])
        reason = scheduler.wait_for(m.Reject, task).reasons[0]
    assert "handler 'broken' does not load" in reason


def test_a_loaded_handler_is_adopted_with_its_model(tmp_path):
    with node(tmp_path, config(tmp_path, HANDLERS)) as (scheduler, agent):
        spec = document(kind="handler", target="greet")
        pids = []
        for _ in range(2):
            scheduler.wait(lambda: handler_states(scheduler).get("greet", ("", ""))[0] == "ready")
            task = new_task()
            scheduler.offer(spec, task, args=[call_args("ann")])
            pids.append(scheduler.result(task)["value"][1])
            agent.kill()
            scheduler.heard.clear()
            agent.start()
    assert pids[0] == pids[1]


@pytest.fixture
def gpus(tmp_path, monkeypatch):
    """Give two cards to agents that a test starts."""
    path = tmp_path / "scenario.json"
    scenario.write(path, [scenario.card(1), scenario.card(2)])
    for name, value in scenario.environment(path).items():
        monkeypatch.setenv(name, value)
    return [scenario.card(number)["uuid"] for number in (1, 2)]


def test_a_task_sees_the_cards_that_it_was_granted_and_no_other(tmp_path, gpus):
    with node(tmp_path, config(tmp_path)) as (scheduler, _):
        call, command, without = new_task(), new_task(), new_task()
        scheduler.offer(function("cards", gpus=1), call, args=[call_args()], gpus=[[gpus[0]]])
        script = "echo $CUDA_VISIBLE_DEVICES"
        spec = document(kind="command", argv=["sh", "-c", script], vram_bytes=1 << 30)
        scheduler.offer(spec, command, gpus=[[gpus[1]]])
        scheduler.offer(document(kind="command", argv=["sh", "-c", script], cpus_milli=0), without)
        seen = (
            scheduler.result(call)["value"],
            scheduler.result(command)["out"].decode().strip(),
            scheduler.result(without)["out"].decode().strip(),
        )
    assert (gpus[0], gpus[1], "") == seen


ANSWERS_ONCE = """
import time
from pathlib import Path

if Path({asked!r}).exists():
    time.sleep(1000)
Path({asked!r}).touch()
exec(Path({scripted!r}).read_text(), globals())
"""


def test_what_an_agent_reads_at_its_start_counts_until_its_driver_answers_again(
    tmp_path, gpus, monkeypatch
):
    nvml = tmp_path / "answers_once.py"
    asked, scripted = str(tmp_path / "asked"), str(scenario.SCRIPTED)
    nvml.write_text(ANSWERS_ONCE.format(asked=asked, scripted=scripted))
    monkeypatch.setenv("REMUDA_NVML", str(nvml))
    with node(tmp_path) as (scheduler, _):
        beat = scheduler.wait_for(m.Heartbeat)
    assert set(gpus) == set(beat.gpus)


def test_a_card_in_use_is_not_granted_again_whatever_the_scheduler_believes(tmp_path, gpus):
    with node(tmp_path) as (scheduler, _):
        first, second = new_task(), new_task()
        spec = document(kind="command", argv=["sleep", "4721"], gpus=1)
        scheduler.offer(spec, first, gpus=[[gpus[0]]])
        scheduler.offer(spec, second, gpus=[[gpus[0]]])
        reason = scheduler.wait_for(m.Reject, second).reasons[0]
    assert f"GPU {gpus[0]} is in use" == reason


def test_a_card_stays_locked_for_its_task_when_its_agent_is_gone(tmp_path, gpus):
    with node(tmp_path) as (scheduler, agent):
        task = new_task()
        spec = document(kind="command", argv=["sleep", "4722"], gpus=1)
        scheduler.offer(spec, task, gpus=[[gpus[0]]])
        scheduler.wait_for(m.Started, task)
        agent.kill()
        (tmp_path / "second").mkdir()
        other_scheduler = FakeScheduler()
        lock_line = f'lock_dir = "{tmp_path / "locks"}"'
        other = NodeUnderTest(
            tmp_path / "second", other_scheduler, own_lock_line=lock_line, disk=tmp_path
        )
        wish = new_task()
        other_scheduler.offer(spec, wish, gpus=[[gpus[0]]])
        reason = other_scheduler.wait_for(m.Reject, wish).reasons[0]
        notes = other_scheduler.registers[-1].capabilities["notes"]
        other.leave_nothing()
        other_scheduler.close()
        scheduler.living = [(task, 1)]
        agent.start()
        assert [task] == scheduler.registers[-1].tasks
    assert f"GPU {gpus[0]} is held by node 'n1'" in reason
    assert reason in notes


def test_a_handler_with_vram_takes_its_part_of_a_card(tmp_path, gpus):
    wanted = '[handlers.greet]\ntarget = "project:Greeter"\nvram = "4GiB"\nworkers = 2\n'
    with node(tmp_path, config(tmp_path, wanted)) as (scheduler, _):
        scheduler.wait(lambda: handler_states(scheduler).get("greet", ("", ""))[0] == "ready")
        task, greedy = new_task(), new_task()
        scheduler.offer(document(kind="handler", target="greet"), task, args=[call_args("ann")])
        card = scheduler.result(task)["value"][2]
        spec = document(kind="command", argv=["true"], gpus=1)
        scheduler.offer(spec, greedy, gpus=[[gpus[0]]])
        reason = scheduler.wait_for(m.Reject, greedy).reasons[0]
        told = [beat for beat in scheduler.all_of(m.Heartbeat) if beat.capabilities][-1]
    assert card in gpus
    assert f"GPU {gpus[0]} is in use" == reason
    assert sorted(gpus) == sorted(told.capabilities["handlers"][0]["gpu_uuids"])
