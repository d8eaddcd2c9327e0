"""Does the client for event loops wait as asyncio's users expect, and leave nothing behind?"""

import asyncio
import gc
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from remuda.client import when_full
from remuda.client.async_client import AsyncClient
from remuda.client.client import Client
from remuda.client.courier import ClientClosed
from remuda.client.outcome import CompletedTask, TaskCancelled
from remuda.protocol import codec
from remuda.protocol import messages as m
from remuda.protocol.errors import QueueFull, TaskFailed
from remuda.scheduler.records import Change
from remuda.scheduler.task import State
from remuda.worker import values

from ...fakes.toy_scheduler import ToyScheduler, home_of

SEVEN = values.encode(7)
END_S = 20.0
Story = Callable[[AsyncClient], Coroutine[Any, Any, None]]


def play(toy: ToyScheduler, story: Story) -> None:
    """Run a story with a client of its own, in a loop of its own."""

    async def main() -> None:
        async with asyncio.timeout(END_S), AsyncClient(home_of(toy)) as cluster:
            await story(cluster)

    asyncio.run(main())
    gc.collect()  # a coroutine that nobody awaited would warn here


def in_state(state: State, value: bytes = b"", **rest: Any) -> Callable[[int, bytes], Change]:
    code, details = rest.get("code", ""), rest.get("details", b"")
    return lambda number, _: Change(b"", number, state, code, 1, "node-1", value, details)


def test_awaiting_a_task_gives_its_value(toy: ToyScheduler) -> None:
    async def story(cluster: AsyncClient) -> None:
        task = await cluster.submit("m:f", 1)
        assert not task.done()
        toy.end(task.sync.key, value=SEVEN)
        assert (7, "succeeded") == (await task, task.state)
        assert 7 == await task.result(timeout=0)

    play(toy, story)


def test_awaiting_a_failed_task_raises_what_the_other_client_raises(toy: ToyScheduler) -> None:
    async def story(cluster: AsyncClient) -> None:
        task = await cluster.submit("m:f")
        with pytest.raises(TaskFailed) as caught:
            await task
        assert ("exception", task.id) == (caught.value.task_code, caught.value.task_id)
        assert isinstance(await task.exception(), TaskFailed)

    toy.autoend = in_state(State.FAILED, code="exception")
    play(toy, story)


def test_two_who_await_one_task_both_hear_of_its_end(toy: ToyScheduler) -> None:
    async def story(cluster: AsyncClient) -> None:
        task = await cluster.submit("m:f")
        asked = [asyncio.ensure_future(task.result()) for _ in range(20)]
        await asyncio.sleep(0)
        toy.end(task.sync.key, value=SEVEN)
        assert [7] * 20 == await asyncio.gather(*asked)

    play(toy, story)


def test_to_stop_waiting_leaves_the_task_running_and_nothing_behind(toy: ToyScheduler) -> None:
    async def story(cluster: AsyncClient) -> None:
        task = await cluster.submit("m:f")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(task, 0.02)
        with pytest.raises(TimeoutError):
            await task.result(timeout=0.02)
        waiting = asyncio.ensure_future(task.result())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert [] == task.sync._done_callbacks
        assert [] == toy.heard_of(m.Cancel)
        toy.end(task.sync.key, value=SEVEN)
        assert 7 == await task

    play(toy, story)


def test_a_cancelled_task_raises_task_cancelled_and_not_the_loops_own_error(
    toy: ToyScheduler,
) -> None:
    async def story(cluster: AsyncClient) -> None:
        task = await cluster.submit("m:f")
        assert await task.cancel()
        with pytest.raises(TaskCancelled) as caught:
            await task
        assert not isinstance(caught.value, asyncio.CancelledError)

    play(toy, story)


def test_tasks_come_back_as_they_end(toy: ToyScheduler) -> None:
    async def story(cluster: AsyncClient) -> None:
        first, second, third = [await cluster.submit("m:f", index) for index in range(3)]
        toy.end(third.sync.key, value=SEVEN)
        assert 7 == await third
        seen = []
        async for task in cluster.as_completed([first, second, third, third]):
            seen.append(task)
            left = [each for each in (second, first) if each not in seen]
            if left:
                toy.end(left[0].sync.key, value=SEVEN)
        assert [third, second, first] == seen

    play(toy, story)


def test_waiting_for_the_next_end_is_over_at_its_timeout(toy: ToyScheduler) -> None:
    async def story(cluster: AsyncClient) -> None:
        task = await cluster.submit("m:f")
        with pytest.raises(TimeoutError):
            async for _ in cluster.as_completed([task], timeout=0.02):
                pass
        assert (set(), {task}) == await cluster.wait([task], timeout=0.02)

    play(toy, story)


@pytest.mark.parametrize(
    ("return_when", "done"), [("FIRST_COMPLETED", 1), ("FIRST_EXCEPTION", 2), ("ALL_COMPLETED", 3)]
)
def test_wait_returns_when_it_was_told_to(toy: ToyScheduler, return_when: str, done: int) -> None:
    async def story(cluster: AsyncClient) -> None:
        tasks = [await cluster.submit("m:f", index) for index in range(3)]
        waiting = asyncio.ensure_future(cluster.wait(tasks, return_when=return_when))
        await asyncio.sleep(0)
        states = (State.SUCCEEDED, State.FAILED, State.SUCCEEDED)
        for task, state in list(zip(tasks, states, strict=True))[:done]:
            toy.end(task.sync.key, state, value=SEVEN)
            while not task.done():
                await asyncio.sleep(0.001)
        finished, left = await waiting
        assert (done, 3 - done) == (len(finished), len(left))

    play(toy, story)


def test_a_map_is_a_sequence_of_tasks_to_await(toy: ToyScheduler) -> None:
    async def story(cluster: AsyncClient) -> None:
        batch = await cluster.options(priority=80).map("m:f", range(2_500))
        assert [7] * 2_500 == await asyncio.gather(*batch)
        assert [7] * 2_500 == [value async for value in batch.results(END_S)]
        assert (2_500, f"{batch.id}.1") == (len(batch), batch[1].id)

    toy.autoend = in_state(State.SUCCEEDED, SEVEN)
    play(toy, story)


def test_run_gives_what_a_subprocess_would(toy: ToyScheduler) -> None:
    async def story(cluster: AsyncClient) -> None:
        done = await cluster.run(["false"])
        assert (3, "no\n") == (done.returncode, done.output)
        assert isinstance(done, CompletedTask)
        with pytest.raises(TaskFailed):
            await cluster.run(["false"], check=True)

    detail = codec.pack_document({"exit_code": 3, "err": b"no\n", "err_bytes": 3})
    toy.autoend = in_state(State.FAILED, code="exit_code", details=detail)
    play(toy, story)


def test_hundreds_who_wait_for_commands_cost_no_threads(toy: ToyScheduler) -> None:
    async def story(cluster: AsyncClient) -> None:
        runs = [asyncio.ensure_future(cluster.run(["true"])) for _ in range(300)]
        while len(toy.tasks) < 300:
            await asyncio.sleep(0.005)
        assert {"cluster": "toy"} == await cluster.status()
        for number in list(toy.tasks):
            toy.end(number.to_bytes(16, "big"))
        assert 300 == len(await asyncio.gather(*runs))

    play(toy, story)


def test_one_client_serves_one_loop_after_the_other(toy: ToyScheduler) -> None:
    cluster = AsyncClient(home_of(toy))
    task = asyncio.run(_awaiting(cluster.submit("m:f")))
    with pytest.raises(TimeoutError):
        asyncio.run(_awaiting(task.result(timeout=0.02)))
    toy.end(task.sync.key, value=SEVEN)
    assert 7 == asyncio.run(_awaiting(task.result()))
    asyncio.run(cluster.close())


async def _awaiting(verb: Coroutine[Any, Any, Any]) -> Any:
    return await verb


def test_a_client_that_is_left_ends_its_threads_and_who_waits_hears_it(toy: ToyScheduler) -> None:
    before = set(threading.enumerate())

    async def main() -> None:
        async with AsyncClient(home_of(toy)) as cluster:
            waiting = asyncio.ensure_future((await cluster.submit("m:f")).result())
            await asyncio.sleep(0)
        with pytest.raises(ClientClosed):
            await waiting

    asyncio.run(main())
    assert set() == set(threading.enumerate()) - before


def test_leaving_does_not_wait_for_a_submission_that_waits_for_room(
    toy: ToyScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(when_full, "PAUSE_S_MAX", 3_600.0)

    async def main() -> None:
        async with AsyncClient(home_of(toy)) as cluster:
            waiting = asyncio.ensure_future(cluster.map("m:f", [1]))
            while not toy.heard_of(m.Submit):
                await asyncio.sleep(0.005)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

    toy.on[m.Submit] = lambda _: m.Failure("queue_full", "full", retry_after_ms=3_600_000)
    asyncio.run(main())
    assert [] == [each for each in threading.enumerate() if each.name.startswith("remuda-async")]


def test_a_refusal_is_raised_where_it_is_awaited(toy: ToyScheduler) -> None:
    async def story(cluster: AsyncClient) -> None:
        with pytest.raises(QueueFull):
            await cluster.submit("m:f")

    toy.on[m.Submit] = lambda _: m.Failure("queue_full", "full", retry_after_ms=1)
    play(toy, story)


@pytest.mark.parametrize("verb", ["submit", "map", "task", "nodes", "submit_command"])
def test_each_verb_has_the_words_of_the_threads_client(verb: str) -> None:
    assert getattr(Client, verb).__doc__ == getattr(AsyncClient, verb).__doc__


def test_no_verb_of_the_threads_client_is_missing() -> None:
    verbs = {name for name in dir(Client) if not name.startswith("_")} - {"executor", "link"}
    assert set() == verbs - set(dir(AsyncClient))
