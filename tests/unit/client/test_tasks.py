"""Do futures resolve once, rightly, and only from what the watch says?"""

import asyncio
import concurrent.futures
import threading
import time
from pathlib import Path

import pytest

from remuda.client.courier import ClientClosed
from remuda.client.environment_options import SecretInEnv
from remuda.client.outcome import CompletedTask, TaskCancelled
from remuda.client.submitter import Submitter
from remuda.client.task import Task
from remuda.protocol import codec
from remuda.protocol import messages as m
from remuda.protocol.errors import (
    Invalid,
    NotAllowed,
    NotFound,
    QueueFull,
    RemudaError,
    TaskFailed,
)
from remuda.scheduler.records import Change
from remuda.scheduler.task import State
from remuda.worker import values

from ...fakes.toy_scheduler import ToyScheduler

SEVEN = values.encode(7)


def ends_at_once(number: int, _args: bytes) -> Change:
    return Change(b"", number, State.SUCCEEDED, "", 1, "node-1", SEVEN, b"")


def state_of(task: Task, state: str) -> bool:
    deadline = time.monotonic() + 10
    while task.state != state and time.monotonic() < deadline:
        time.sleep(0.005)
    return task.state == state


def test_a_task_is_open_until_the_watch_tells_its_end(
    toy: ToyScheduler, cluster: Submitter
) -> None:
    task = cluster.submit("m:f", 1)
    assert not task.done()
    toy.end(task.key, value=SEVEN)
    assert (7, "succeeded") == (task.result(10), task.state)


def test_an_end_that_overtakes_the_submit_reply_is_not_lost(
    toy: ToyScheduler, cluster: Submitter
) -> None:
    first = cluster.submit("m:f")
    toy.wait_watched()
    toy.on[m.Submit] = toy.end_before_the_reply
    assert 7 == cluster.submit("m:f").result(10)
    assert not first.done()


def test_ends_missed_while_the_scheduler_restarted_are_asked_for(
    toy: ToyScheduler, cluster: Submitter
) -> None:
    tasks = [cluster.submit("m:f", index) for index in range(3)]
    toy.end(tasks[0].key, value=SEVEN)
    assert 7 == tasks[0].result(10)
    toy.stop()
    for number, change in toy.tasks.items():
        toy.tasks[number] = change._replace(state=State.SUCCEEDED, value=SEVEN)
    toy.start()
    assert [7, 7, 7] == [task.result(30) for task in tasks]


def test_a_task_whose_result_has_expired_raises_not_found(
    toy: ToyScheduler, cluster: Submitter
) -> None:
    task = cluster.submit("m:f")
    toy.stop()
    toy.tasks.clear()
    toy.start()
    with pytest.raises(NotFound) as caught:
        task.result(30)
    assert "result_expired" == caught.value.code


def test_a_failure_carries_code_node_traceback_and_log_tail(
    toy: ToyScheduler, cluster: Submitter
) -> None:
    task = cluster.submit("m:f")
    detail = {"message": "ValueError: no", "traceback": "Traceback...\nValueError: no"}
    toy.end(
        task.key,
        State.FAILED,
        code="exception",
        details=codec.pack_document({**detail, "err": b"warned\n"}),
    )
    error = task.exception(10)
    assert isinstance(error, TaskFailed)
    assert ("exception", "node-1", 1, task.id) == (
        error.task_code,
        error.node,
        error.attempt,
        error.task_id,
    )
    assert ("warned\n", detail["traceback"]) == (error.log_tail, error.traceback)
    assert "exception: ValueError: no" in str(error)


def test_cancel_is_true_once_accepted_and_the_end_is_a_cancelled_error(
    cluster: Submitter,
) -> None:
    task = cluster.submit("m:f")
    assert task.cancel()
    with pytest.raises(concurrent.futures.CancelledError) as caught:
        task.result(10)
    assert isinstance(caught.value, TaskCancelled)
    assert isinstance(caught.value, RemudaError)
    assert task.cancelled()


def test_cancel_of_what_has_ended_is_false(toy: ToyScheduler, cluster: Submitter) -> None:
    toy.autoend = ends_at_once
    task = cluster.submit("m:f")
    task.result(10)
    assert not task.cancel()


def test_a_wait_that_takes_too_long_raises_timeout_error(cluster: Submitter) -> None:
    task = cluster.submit("m:f")
    with pytest.raises(TimeoutError, match="still queued"):
        task.result(0.05)


def test_progress_is_the_last_that_was_heard(toy: ToyScheduler, cluster: Submitter) -> None:
    task = cluster.submit("m:f")
    shown = codec.pack_document({"progress": 400, "text": "step 8/20"})
    toy.end(task.key, State.RUNNING, details=shown)
    assert state_of(task, "running")
    assert ((0.4, "step 8/20"), True) == (task.progress, task.running())


def test_the_standard_library_waits_for_our_tasks(toy: ToyScheduler, cluster: Submitter) -> None:
    tasks = [cluster.submit("m:f", index) for index in range(3)]
    toy.end(tasks[1].key, value=SEVEN)
    done, _ = concurrent.futures.wait(tasks, 10, concurrent.futures.FIRST_COMPLETED)
    assert {tasks[1]} == done
    toy.end(tasks[0].key, State.FAILED, code="exception")
    done, _ = concurrent.futures.wait(tasks, 10, concurrent.futures.FIRST_EXCEPTION)
    assert {tasks[0], tasks[1]} == done
    tasks[2].cancel()
    assert set(tasks) == set(concurrent.futures.as_completed(tasks, 10))


def test_asyncio_can_await_a_task(toy: ToyScheduler, cluster: Submitter) -> None:
    task = cluster.submit("m:f")
    threading.Timer(0.05, toy.end, [task.key], {"value": SEVEN}).start()

    async def wait() -> object:
        return await asyncio.wait_for(asyncio.wrap_future(task), 10)

    assert 7 == asyncio.run(wait())


def test_a_callback_may_submit_and_wait(toy: ToyScheduler, cluster: Submitter) -> None:
    seen: list[object] = []
    called = threading.Event()

    def again(_: object) -> None:
        toy.autoend = ends_at_once
        seen.append(cluster.submit("m:f").result(10))
        called.set()

    task = cluster.submit("m:f")
    task.add_done_callback(again)
    toy.end(task.key, value=SEVEN)
    assert called.wait(20)
    assert [7] == seen


def test_closing_the_client_ends_the_wait_for_open_tasks(cluster: Submitter) -> None:
    task = cluster.submit("m:f")
    threading.Timer(0.05, cluster._session.close).start()
    with pytest.raises(ClientClosed):
        task.result(10)


def test_a_withdrawn_key_ends_the_wait_with_not_allowed(
    toy: ToyScheduler, cluster: Submitter
) -> None:
    task = cluster.submit("m:f")
    toy.on[m.Watch] = lambda _: m.Failure("not_allowed", "the key was revoked")
    toy.end(cluster.submit("m:f").key, value=SEVEN)  # wakes the poll that waits
    with pytest.raises(NotAllowed, match="revoked"):
        task.result(10)


def test_a_map_goes_out_in_frames_that_share_one_spec(
    toy: ToyScheduler, cluster: Submitter
) -> None:
    toy.autoend = ends_at_once
    batch = cluster.options(priority=80).map("m:f", range(2_500))
    assert [7] * 2_500 == list(batch.results(30))
    frames = [frame for frame in toy.heard_of(m.Submit) if isinstance(frame, m.Submit)]
    assert [(0, 1000), (1000, 1000), (2000, 500)] == [(f.offset, len(f.args)) for f in frames]
    assert [[{"kind": "function", "target": "m:f", "priority": 80}]] * 3 == [
        f.specs for f in frames
    ]
    assert 1 == len({frame.batch_key for frame in frames})
    assert [f"{batch.id}.0", f"{batch.id}.2499"] == [batch[0].id, batch[-1].id]
    assert {"succeeded": 2500} == batch.counts


def test_a_map_over_nothing_is_an_empty_batch(cluster: Submitter) -> None:
    batch = cluster.map("m:f", [])
    assert ("", 0, []) == (batch.id, len(batch), list(batch.results()))


def test_a_map_waits_when_the_queue_is_full(toy: ToyScheduler, cluster: Submitter) -> None:
    refusals = iter([True, True, False, True, False, False, False])

    def submit(message: m.Message) -> m.Message:
        assert isinstance(message, m.Submit)
        if next(refusals):
            return m.Failure("queue_full", "full", retry_after_ms=1)
        return toy._submit(message)

    toy.on[m.Submit] = submit
    assert 2_000 == len(cluster.map("m:f", range(2_000)))
    assert 2_000 == len(toy.tasks)


def full_at_first(toy: ToyScheduler, refusals: int) -> None:
    """Refuse the first submissions as a full queue does."""

    def submit(message: m.Message) -> m.Message:
        assert isinstance(message, m.Submit)
        if len(toy.heard_of(m.Submit)) <= refusals:
            return m.Failure("queue_full", "full", retry_after_ms=1)
        return toy._submit(message)

    toy.on[m.Submit] = submit


def test_a_submit_told_to_wait_sends_the_same_frame_until_there_is_room(
    toy: ToyScheduler, cluster: Submitter
) -> None:
    full_at_first(toy, 2)
    toy.autoend = ends_at_once
    assert 7 == cluster.options(when_full="wait").submit("m:f").result(10)
    keys = {message.submit_key for message in toy.heard_of(m.Submit)}  # type: ignore[attr-defined]  # Submit
    assert (3, 1) == (len(toy.heard_of(m.Submit)), len(keys))


def test_a_submit_told_to_wait_for_so_long_raises_after_that(
    toy: ToyScheduler, cluster: Submitter
) -> None:
    full_at_first(toy, 1_000)
    with pytest.raises(QueueFull):
        cluster.submit_command(["true"], when_full="wait=300ms")
    assert 2 <= len(toy.heard_of(m.Submit))


def test_a_map_told_to_fail_does_not_wait(toy: ToyScheduler, cluster: Submitter) -> None:
    full_at_first(toy, 1_000)
    with pytest.raises(QueueFull):
        cluster.options(when_full="fail").map("m:f", [1])
    assert 1 == len(toy.heard_of(m.Submit))


def test_a_deadline_from_now_counts_from_each_submission(
    toy: ToyScheduler, cluster: Submitter, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall_ns = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: wall_ns)
    in_an_hour = cluster.options(deadline="1h")
    in_an_hour.submit("m:f")
    wall_ns += 60_000_000_000
    in_an_hour.submit("m:f")
    first, second = (each.specs[0]["deadline_ms"] for each in toy.heard_of(m.Submit))  # type: ignore[attr-defined]  # Submit
    assert 60_000 == second - first


def test_a_single_submit_to_a_full_queue_raises(toy: ToyScheduler, cluster: Submitter) -> None:
    toy.on[m.Submit] = lambda _: m.Failure("queue_full", "full", retry_after_ms=1)
    with pytest.raises(QueueFull):
        cluster.submit("m:f")


def test_a_map_that_breaks_half_way_takes_back_what_was_stored(
    toy: ToyScheduler, cluster: Submitter
) -> None:
    items = [*range(1_500), object()]
    with pytest.raises(Invalid, match="object"):
        cluster.map("m:f", items)
    assert {State.CANCELLED} == {State(change.state) for change in toy.tasks.values()}


def test_without_a_store_a_large_value_is_not_submitted(
    toy: ToyScheduler, cluster: Submitter
) -> None:
    with pytest.raises(Invalid, match="FindStore"):
        cluster.submit("m:f", b"x" * 70_000)
    assert [] == toy.heard_of(m.Submit)


def test_submit_many_is_one_frame(toy: ToyScheduler, cluster: Submitter) -> None:
    toy.autoend = ends_at_once
    tasks = cluster.submit_many([("m:f", [1], {}), ("m:g", [], {"x": 2}), ("m:f", [3], {})])
    assert [7, 7, 7] == [task.result(10) for task in tasks]
    (frame,) = toy.heard_of(m.Submit)
    assert isinstance(frame, m.Submit)
    assert ([0, 1, 0], 2) == (frame.spec_index, len(frame.specs))


def test_a_key_that_names_an_ended_task_still_resolves(
    toy: ToyScheduler, cluster: Submitter
) -> None:
    task = cluster.submit("m:f")
    answer = m.Submitted([task.key], first_number=1, count=1)
    toy.end(task.key, value=SEVEN)
    task.result(10)
    toy.on[m.Submit] = lambda _: answer
    assert 7 == cluster.options(once="k").submit("m:f").result(10)


def test_a_command_gives_what_a_subprocess_would(toy: ToyScheduler, cluster: Submitter) -> None:
    task = cluster.submit_command(["sh", "-c", "echo hi"])
    detail = {"exit_code": 0, "out": b"hi\n", "out_bytes": 3, "err": b"", "err_bytes": 0}
    toy.end(task.key, details=codec.pack_document(detail))
    assert CompletedTask(task.id, 0, "hi\n", "") == task.result(10)


def test_run_returns_a_bad_exit_and_raises_it_when_checked(
    toy: ToyScheduler, cluster: Submitter
) -> None:
    detail = codec.pack_document({"exit_code": 3, "err": b"no\n", "err_bytes": 3})

    def fails(number: int, _: bytes) -> Change:
        return Change(b"", number, State.FAILED, "exit_code", 1, "node-1", b"", detail)

    toy.autoend = fails
    done = cluster.run(["false"])
    assert (3, "no\n") == (done.returncode, done.output)
    with pytest.raises(TaskFailed) as caught:
        cluster.run(["false"], check=True)
    assert 3 == caught.value.returncode


def test_leaving_an_executor_waits_for_its_tasks(toy: ToyScheduler, cluster: Submitter) -> None:
    with cluster.executor() as pool:
        task = pool.submit("m:f")  # type: ignore[arg-type]  # a name is a function, too
        threading.Timer(0.1, toy.end, [task.key], {"value": SEVEN}).start()
    assert task.done()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit("m:f")  # type: ignore[arg-type]


def test_a_variable_that_looks_like_a_secret_is_warned_of_at_the_callers_line(
    cluster: Submitter,
) -> None:
    env = {"HF_TOKEN": "x"}
    verbs = [
        lambda: cluster.options(env=env),
        lambda: cluster.submit_command(["true"], env=env),
        lambda: cluster.submit_array(["true"], [1], env=env),
        lambda: cluster.submit_each(["true"], ["a"], env=env),
    ]
    for verb in verbs:
        with pytest.warns(SecretInEnv, match="--secret HF_TOKEN") as caught:
            verb()
        assert [Path(__file__)] == [Path(each.filename) for each in caught]
