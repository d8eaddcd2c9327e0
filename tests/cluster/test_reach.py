"""Can one reach into a task that runs: see its stack, signal it, run a command beside it?"""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import psutil
import pytest

from remuda.client import reach
from remuda.client.async_client import AsyncClient
from remuda.client.task import Task
from remuda.protocol import messages as m
from remuda.protocol.errors import Conflict, NotAllowed, RemudaError

from ..fakes import scenario
from ..fakes.runner_driver import living_with
from .command_line import CommandLine, admit, wait_until
from .far import far
from .harness import Cluster, real_cluster

pytestmark = pytest.mark.cluster

FINISH_S = 60.0
CARD = scenario.card(1)
CODE = """
import time


def stuck():
    print("begun", flush=True)
    time.sleep(1000)
"""
LOOP = "echo ready; while :; do sleep 0.05; done"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Run one node with a card for all tests of this file."""
    folder = tmp_path_factory.mktemp("reach")
    nodes = far().common_folder("reach")
    (nodes / "project.py").write_text(CODE)
    scene = scenario.write(nodes / "scene.json", [CARD])
    settings = f'[node]\npython_path = ["{nodes}"]\n'
    with real_cluster(folder, 1, scenario.environment(scene), settings) as made:
        yield made


@pytest.fixture(scope="module")
def typed(host: Cluster) -> CommandLine:
    return CommandLine(host.folder)


@pytest.fixture
def begin(host: Cluster) -> Iterator[Callable[..., Task]]:
    """Start shell lines that say when they are ready; what still runs is cancelled."""
    begun: list[Task] = []

    def start(line: str = LOOP, **options: object) -> Task:
        task = host.client.submit_command(["sh", "-c", line], **options)
        begun.append(task)
        host.note([task])
        wait_until(lambda: "ready" in "".join(task.logs()), "it does not begin")
        return task

    yield start
    for task in begun:
        task.cancel(0.1)
    host.client.wait(begun, FINISH_S)


@pytest.fixture
def stuck(host: Cluster) -> Iterator[Task]:
    """Run a function that sleeps."""
    task = host.client.submit("project:stuck")
    host.note([task])
    wait_until(lambda: "begun" in "".join(task.logs()), "it does not begin")
    yield task
    task.cancel(0.1)
    host.client.wait([task], FINISH_S)


def audit(typed: CommandLine) -> list[tuple[str, str, str]]:
    journal = apsw.Connection(
        str(typed.home.scheduler_dir / "journal.db"), flags=apsw.SQLITE_OPEN_READONLY
    )
    with contextlib.closing(journal):
        return list(journal.execute("SELECT principal, verb, subject FROM audit ORDER BY seq"))


def test_the_stack_of_a_sleeping_function_names_its_file_and_line(
    typed: CommandLine, stuck: Task
) -> None:
    line = CODE.splitlines().index("    time.sleep(1000)") + 1
    expected = f'project.py", line {line} in stuck'
    assert expected in stuck.stack()
    assert expected in typed("task", "stack", stuck.id).stdout
    told = typed.json("task", "stack", stuck.id)
    assert (stuck.id, "node-1", 1) == (told["id"], told["node"], told["attempt"])


def test_a_command_has_no_python_stack_and_its_owner_hears_what_to_do(
    typed: CommandLine, begin: Callable[..., Task]
) -> None:
    done = typed("task", "stack", begin().id)
    assert (1, "") == (done.returncode, done.stdout)
    assert "py-spy" in done.stderr


def test_a_signal_reaches_the_trap_of_a_command(
    typed: CommandLine, begin: Callable[..., Task]
) -> None:
    task = begin(f"trap 'echo caught' USR1; trap 'exit 0' USR2; {LOOP}")
    done = typed("task", "signal", task.id, "USR1")
    assert (0, f"sent USR1 to task {task.id}, try 1, on node-1 of local\n") == (
        done.returncode,
        done.stdout,
    )
    wait_until(lambda: "caught" in "".join(task.logs()), "the trap did not run")
    task.signal(signal.SIGUSR2)
    assert 0 == task.result(FINISH_S).returncode


def test_a_task_is_stopped_and_goes_on(begin: Callable[..., Task]) -> None:
    # A shell that is just starting a program is no good: it stands still, and is not seen stopped.
    task = begin("echo $$; echo ready; exec sleep 300")
    process = psutil.Process(int("".join(task.logs()).split()[0]))
    task.signal("STOP")
    wait_until(lambda: process.status() == psutil.STATUS_STOPPED, "it goes on")
    task.signal("SIGCONT")
    wait_until(lambda: process.status() != psutil.STATUS_STOPPED, "it stands still")


def test_a_signal_that_says_nothing_to_a_task_is_refused(
    typed: CommandLine, begin: Callable[..., Task]
) -> None:
    task = begin()
    for wanted in ("SEGV", "NOPE", signal.SIGKILL):
        with pytest.raises(NotAllowed):
            task.signal(wanted)
    assert (4, "running") == (
        typed("task", "signal", task.id, "9").returncode,
        task.refresh().state,
    )


def test_a_command_beside_a_task_has_its_environment_directory_and_card(
    typed: CommandLine, begin: Callable[..., Task]
) -> None:
    task = begin("pwd; " + LOOP, gpus=1, env={"COLOR": "blue"})
    folder = "".join(task.logs()).split()[0]
    line = "pwd; echo $REMUDA_TASK_ID $CUDA_VISIBLE_DEVICES $COLOR; echo err >&2; exit 3"
    done = typed("task", "exec", task.id, "--", "sh", "-c", line)
    expected = f"{folder}\n{task.id} {CARD['uuid']} blue\n"
    assert (3, expected, "err\n") == (done.returncode, done.stdout, done.stderr)


def test_a_program_with_an_event_loop_reaches_into_a_task_as_well(
    host: Cluster, stuck: Task
) -> None:
    async def reach_into() -> tuple[str, str]:
        async with AsyncClient(host.home.root) as client:
            task = await client.task(stuck.id)
            await task.signal("CONT")
            return await task.stack(), (await task.exec(["echo", "in"])).stdout

    stack, printed = asyncio.run(reach_into())
    assert ("in stuck" in stack, "in\n") == (True, printed)


def test_a_function_can_have_a_command_beside_it(stuck: Task) -> None:
    result = stuck.exec(["sh", "-c", "echo in; cat; kill -TERM $$"])
    assert (-15, "in\n", "", "") == (result.returncode, result.stdout, result.stderr, result.code)


def test_a_command_beside_a_task_has_its_time(
    typed: CommandLine, begin: Callable[..., Task]
) -> None:
    task = begin()
    words = ("task", "exec", "--timeout", "300ms", task.id, "sh", "-c", "echo in; sleep 1000")
    done = typed(*words)
    assert (124, "in\n") == (done.returncode, done.stdout)
    assert "ran longer than 0.3 s" in done.stderr
    assert "timeout" == task.exec(["sleep", "1000"], timeout=0.1).code


def test_a_flood_from_beside_a_task_is_cut_with_a_mark(
    typed: CommandLine, begin: Callable[..., Task]
) -> None:
    done = typed("task", "exec", begin().id, "sh", "-c", "yes | head -c 165536")
    assert (0, 65_536) == (done.returncode, len(done.stdout))
    assert "[97.7KiB more of stdout were not kept]\n" == done.stderr


def test_what_runs_beside_a_task_ends_with_it(host: Cluster, begin: Callable[..., Task]) -> None:
    task = begin()
    heard: list[reach.ExecResult] = []
    argv = ["sh", "-c", "echo $$ > $REMUDA_TASK_DIR/beside; sleep 1000 & sleep 1000"]
    asking = threading.Thread(target=lambda: heard.append(task.exec(argv, timeout=FINISH_S)))
    asking.start()
    mark = f"REMUDA_TASK_ID={task.id}"
    wait_until(lambda: len(living_with(mark)) >= 4, "the command does not begin")
    task.cancel(0.1)
    asking.join(FINISH_S)
    assert [-signal.SIGTERM] == [result.returncode for result in heard]
    host.client.wait([task], FINISH_S)
    assert [] == living_with(mark)


def test_what_has_ended_or_not_begun_cannot_be_reached(
    host: Cluster, typed: CommandLine, begin: Callable[..., Task]
) -> None:
    ended = host.client.submit_command(["true"])
    ended.result(FINISH_S)
    done = typed("task", "exec", ended.id, "true")
    assert 125 == done.returncode
    assert f"task {ended.id} is succeeded: only one that runs can be reached" in done.stderr
    begin(gpus=1)
    waiting = host.client.submit_command(["true"], gpus=1)
    with pytest.raises(Conflict, match="is queued"):
        waiting.stack()
    waiting.cancel()


def test_nobody_reaches_into_the_task_of_somebody_else(
    typed: CommandLine, begin: Callable[..., Task]
) -> None:
    task = begin()
    stranger = admit(typed, "carla", "submit")
    assert 125 == stranger("task", "exec", task.id, "true").returncode
    assert 3 == stranger("task", "signal", task.id, "USR1").returncode
    viewer = admit(typed, "vera", "viewer")
    assert 4 == viewer("task", "stack", task.id).returncode
    operator = admit(typed, "oscar", "operator")
    assert 0 == operator("task", "exec", task.id, "true").returncode
    done = [row for row in audit(typed) if row[1] == "task exec" and task.id in row[2]]
    owner = task.refresh() and typed.json("task", "show", task.id)["owner"]
    assert [("oscar", "task exec", f"{task.id} of {owner}: true")] == done


def test_a_command_beside_a_task_runs_once_although_the_scheduler_dies_meanwhile(
    host: Cluster, begin: Callable[..., Task], common: Path
) -> None:
    task = begin()
    truth, go = common / "truth", common / "go"
    line = f"echo ran >> {truth}; while [ ! -e {go} ]; do sleep 0.05; done; echo done"
    heard: list[reach.ExecResult] = []
    asking = threading.Thread(
        target=lambda: heard.append(task.exec(["sh", "-c", line], timeout=FINISH_S))
    )
    asking.start()
    wait_until(truth.exists, "the command does not begin")
    old = host.kill("scheduler")
    host.wait_restarted("scheduler", old)
    wait_until(lambda: host.client.nodes()[0]["state"] == "ready", "the node does not come back")
    go.touch()
    asking.join(FINISH_S)
    assert ([(0, "done\n")], "ran\n") == (
        [(result.returncode, result.stdout) for result in heard],
        truth.read_text(),
    )


def test_what_is_asked_twice_with_one_key_is_done_once(
    host: Cluster, begin: Callable[..., Task], common: Path
) -> None:
    task = begin()
    argv = ["sh", "-c", f"echo ran >> {common / 'truth'}"]
    asked = m.AskTask(b"k" * 16, task.key, "exec", {"argv": argv, "timeout_ms": 10_000})
    answers = [host.client.link.request(asked, m.TaskAnswer) for _ in range(2)]
    assert answers[0] == answers[1]
    assert "ran\n" == (common / "truth").read_text()


def test_a_task_on_a_node_that_is_silent_is_said_to_be_out_of_reach(
    host: Cluster, typed: CommandLine, begin: Callable[..., Task]
) -> None:
    task = begin()
    agent = psutil.Process(host.pid("node-1"))
    agent.suspend()
    try:
        wait_until(lambda: host.client.nodes()[0]["state"] == "suspect", "it is heard")
        with pytest.raises(RemudaError, match="node-1, where the task runs, was not heard for"):
            task.stack()
    finally:
        agent.resume()
    wait_until(lambda: host.client.nodes()[0]["state"] == "ready", "it is not heard again")
