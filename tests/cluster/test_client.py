"""Does the Python client do on a real cluster what its users expect?"""

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from remuda.client.client import Client
from remuda.client.control import CANCEL_SLICE
from remuda.client.options import Retry
from remuda.client.outcome import TaskCancelled
from remuda.protocol.errors import (
    Infeasible,
    Invalid,
    NotFound,
    RemudaError,
    TaskFailed,
)

from .command_line import wait_until
from .harness import Cluster

pytestmark = pytest.mark.cluster

END_S = 60.0


@pytest.fixture
def client(shared: Cluster) -> Client:
    return shared.client


def test_a_function_gets_its_arguments_and_gives_its_value(client: Client) -> None:
    task = client.submit("builtins:divmod", 17, 5)
    assert (3, 2) == task.result(END_S)
    assert {"a": 1} == client.call(dict, a=1)


def test_an_exception_comes_home_with_its_traceback(client: Client) -> None:
    error = client.submit("math:sqrt", -1).exception(END_S)
    assert isinstance(error, TaskFailed)
    assert ("exception", "ValueError: math domain error") == (
        error.task_code,
        error.traceback.splitlines()[-1],
    )


def test_a_map_of_two_thousand_gives_each_result_in_order(shared: Cluster, client: Client) -> None:
    batch = client.map("math:sqrt", range(2_000))
    shared.note(batch)
    assert [number**0.5 for number in range(2_000)] == list(batch.results(END_S))
    assert {"succeeded": 2_000} == batch.counts
    again = client.batch(batch.id)
    assert (2_000, batch[1_999].id, 1999**0.5) == (
        len(again),
        again[-1].id,
        again[-1].result(END_S),
    )


def test_tasks_come_back_as_they_end(client: Client) -> None:
    slow = client.submit("time:sleep", 1.5)
    quick = client.submit("math:sqrt", 4)
    assert [quick, slow] == list(client.as_completed([slow, quick], END_S))


def test_an_executor_runs_code_that_knows_only_the_standard_library(client: Client) -> None:
    with client.executor() as pool:
        task = pool.submit(pow, 2, 10)
        assert [1, 8, 27] == list(pool.map(pow, [1, 2, 3], [3, 3, 3]))
    assert (True, 1024) == (task.done(), task.result())


def test_a_command_is_run_like_a_subprocess(client: Client) -> None:
    script = 'read line; echo "$line $GREETING $PWD"; echo oops >&2; exit 3'
    done = client.run(
        ["sh", "-c", script], stdin=b"hello\n", env={"GREETING": "world"}, cwd=Path("/tmp")
    )
    assert (3, "hello world /tmp\n", "oops\n") == (done.returncode, done.stdout, done.stderr)
    with pytest.raises(TaskFailed) as caught:
        client.run(["sh", "-c", "echo why >&2; exit 4"], check=True)
    assert (4, "why\n") == (caught.value.returncode, caught.value.log_tail)


def test_output_larger_than_what_travels_with_the_result_is_whole(client: Client) -> None:
    done = client.run(["python3", "-c", "for i in range(60000): print('line', i)"])
    assert [f"line {number}" for number in range(60_000)] == done.stdout.splitlines()


def test_an_array_tells_each_member_its_index(client: Client) -> None:
    batch = client.submit_array(["sh", "-c", "echo $REMUDA_ARRAY_INDEX"], [3, 5, 8])
    assert ["3\n", "5\n", "8\n"] == [done.stdout for done in batch.results(END_S)]


def test_logs_can_be_followed_while_a_command_runs(client: Client, common: Path) -> None:
    gate = common / "gate"
    script = f"echo one; while [ ! -e {gate} ]; do sleep 0.02; done; echo two"
    lines = client.submit_command(["sh", "-c", script]).logs(follow=True)
    assert "one\n" == next(lines)
    gate.touch()
    assert "two\n" == "".join(lines)


def test_a_running_task_can_be_cancelled(client: Client) -> None:
    task = client.submit("time:sleep", 1000)
    wait_until(lambda: task.state == "running", "it did not start")
    assert task.cancel(grace_s=1)
    with pytest.raises(TaskCancelled):
        task.result(END_S)


def test_a_batch_larger_than_one_slice_is_cancelled_to_the_last_task(client: Client) -> None:
    waiting = {"labels": {"never": "here"}, "allow_infeasible": True}
    batch = client.submit_array(["true"], range(2 * CANCEL_SLICE + 1), **waiting)
    assert 2 * CANCEL_SLICE + 1 == batch.cancel()
    client.wait(batch, END_S)
    assert {"cancelled": 2 * CANCEL_SLICE + 1} == batch.counts


def test_a_whole_batch_can_be_cancelled(client: Client) -> None:
    batch = client.map("time:sleep", [1000] * 50)
    assert 50 == batch.cancel(grace_s=0)
    client.wait(batch, END_S)
    assert {"cancelled": 50} == batch.counts


def test_a_task_is_tried_again_after_its_own_errors(client: Client, common: Path) -> None:
    script = f"echo try >> {common}/tries; test $(wc -l < {common}/tries) -ge 3"
    retry = Retry(retries=5, backoff="10ms..20ms")
    task = client.submit_command(["sh", "-c", script], retry=retry)
    assert 0 == task.result(END_S).returncode
    assert 3 == task.standing.attempt


def test_a_task_that_takes_too_long_fails_with_timeout(client: Client) -> None:
    task = client.submit_command(["sleep", "100"], timeout="300ms", grace="1s")
    error = task.exception(END_S)
    assert isinstance(error, TaskFailed)
    assert "timeout" == error.task_code


def test_higher_priorities_go_first(client: Client, common: Path) -> None:
    order = common / "order"
    gate = common / "gate"
    hold = f"while [ ! -e {gate} ]; do sleep 0.02; done"
    blocker = client.submit_command(["sh", "-c", hold], node="node-1")
    wait_until(lambda: blocker.state == "running", "the blocker did not start")
    # A kind that never ran before: of what is known to be short, some is sent ahead of its time.
    waiting = [
        client.options(node="node-1", priority=priority).submit(
            "os:system", f"echo {priority} >> {order}"
        )
        for priority in (10, 90, 50)
    ]
    gate.touch()
    client.wait(waiting, END_S)
    assert ["90", "50", "10"] == order.read_text().split()


def test_a_key_submits_a_task_once(client: Client) -> None:
    keyed = client.options(once=f"key-{time.time_ns()}")
    first = keyed.submit("math:sqrt", 9)
    assert 3.0 == first.result(END_S)
    second = keyed.submit("math:sqrt", 9)
    assert (first.id, 3.0) == (second.id, second.result(END_S))


def test_what_no_node_could_run_is_refused_unless_allowed(client: Client) -> None:
    with pytest.raises(Infeasible, match="no node could ever run this"):
        client.options(memory="1TiB").submit("math:sqrt", 4)
    task = client.options(memory="1TiB", allow_infeasible=True).submit("math:sqrt", 4)
    assert "queued" == task.refresh().state
    assert "memory" in str(task.explain())
    assert task.cancel()


def test_a_function_of_a_script_travels_as_its_file(shared: Cluster, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            from remuda import Client

            FACTOR = 6

            def times(number):
                return number * FACTOR

            if __name__ == "__main__":
                with Client() as cluster:
                    print(cluster.call(times, 7))
            """
        )
    )
    done = subprocess.run(
        [sys.executable, script],
        env={"REMUDA_HOME": str(shared.home.root), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=END_S,
        check=False,
    )
    assert ("42\n", "") == (done.stdout, done.stderr)


def test_a_task_of_another_client_is_found_by_id_and_by_number(client: Client) -> None:
    task = client.options(name="findme").submit("math:sqrt", 16)
    task.result(END_S)
    with Client(client.link.ref.home.root) as other:
        assert [4.0, 4.0] == [other.task(ref).result(END_S) for ref in (task.id, task.number)]
        assert [task.id] == [found.id for found in other.tasks(name="findme")]
        with pytest.raises(NotFound):
            other.task("01ARZ3NDEKTSV4RRFFQ69G5FAV")


def test_progress_of_a_command_can_be_seen(client: Client, common: Path) -> None:
    gate = common / "gate"
    script = f'echo "0.4 step 8/20" > $REMUDA_PROGRESS; while [ ! -e {gate} ]; do sleep 0.02; done'
    task = client.submit_command(["sh", "-c", script])
    wait_until(lambda: task.refresh().progress == (0.4, "step 8/20"), "no progress was seen")
    gate.touch()
    assert 0 == task.result(END_S).returncode


def test_a_refused_spec_names_its_field(client: Client) -> None:
    with pytest.raises(Invalid) as caught:
        client.submit_command(["true"], env={"A=B": "x"})
    assert "env" in caught.value.field
    with pytest.raises(RemudaError):
        client.options(node="no-such-node").submit("math:sqrt", 1)
