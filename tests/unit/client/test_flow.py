"""Do calls flow through a window: results in order or as they end, and never too many open?"""

import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from remuda.client.submitter import Submitter
from remuda.protocol import ids
from remuda.protocol import messages as m
from remuda.protocol.errors import Invalid, QueueFull, RemudaError, TaskFailed
from remuda.scheduler.records import Change
from remuda.scheduler.task import State
from remuda.worker import values

from ...fakes.toy_scheduler import ToyScheduler

DEADLINE_S = 20.0


def echo(number: int, args: bytes) -> Change:
    """End a call at once with its argument; that of a negative one is a failure."""
    ((value,), _) = values.decode_call(args)
    state = State.SUCCEEDED if value >= 0 else State.FAILED
    return Change(b"", number, state, "", 1, "node-1", values.encode(value), b"")


def submitted(toy: ToyScheduler) -> list[m.Submit]:
    return [message for message in toy.heard_of(m.Submit) if isinstance(message, m.Submit)]


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_an_endless_iterable_flows_in_order(toy: ToyScheduler, cluster: Submitter) -> None:
    toy.autoend = echo
    found = list(itertools.islice(cluster.imap("m:f", itertools.count(), window=50), 2_000))
    assert list(range(2_000)) == found
    assert len(toy.tasks) <= 2_050


def test_no_more_items_are_taken_than_the_window_holds(
    toy: ToyScheduler, cluster: Submitter
) -> None:
    taken = itertools.count()
    flow = cluster.imap("m:f", taken, window=3)
    toy.autoend = echo
    assert 0 == next(flow)
    wait_until(lambda: len(toy.tasks) >= 3)
    assert next(taken) <= 4
    flow.close()  # type: ignore[attr-defined]  # it is a generator


def test_results_come_as_the_calls_end(toy: ToyScheduler, cluster: Submitter) -> None:
    flow = cluster.imap_unordered("m:f", [1, 2, 3], window=3)
    found: list[int] = []
    taker = threading.Thread(target=lambda: found.extend(flow))
    taker.start()
    wait_until(lambda: len(toy.tasks) == 3)
    for number, value in zip(reversed(list(toy.tasks)), (3, 2, 1), strict=True):
        toy.end(ids.to_bytes(number), value=values.encode(value))
        wait_until(lambda: value in found)  # noqa: B023 - called at once
    taker.join()
    assert [3, 2, 1] == found


def test_a_result_comes_while_the_iterable_still_blocks(
    toy: ToyScheduler, cluster: Submitter
) -> None:
    toy.autoend = echo
    go_on = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        assert go_on.wait(DEADLINE_S)
        yield 2

    flow = cluster.imap("m:f", items(), window=10)
    assert 1 == next(flow)
    go_on.set()
    assert [2] == list(flow)


def test_what_gathers_while_a_frame_is_under_way_is_the_next_frame(
    toy: ToyScheduler, cluster: Submitter
) -> None:
    toy.autoend = echo
    assert 500 == len(list(cluster.imap("m:f", range(500))))
    offsets = [message.offset for message in submitted(toy)]
    assert (0, True) == (offsets[0], offsets == sorted(offsets))
    assert 1 == len({message.batch_key for message in submitted(toy)})
    assert len(offsets) < 250


@pytest.mark.parametrize("verb", ["imap", "imap_unordered"])
def test_a_call_that_fails_ends_the_flow(toy: ToyScheduler, cluster: Submitter, verb: str) -> None:
    toy.autoend = echo
    with pytest.raises(TaskFailed):
        list(getattr(cluster, verb)("m:f", [1, -1, 2]))


def test_a_failure_stands_in_the_place_of_its_result_if_asked_for(
    toy: ToyScheduler, cluster: Submitter
) -> None:
    toy.autoend = echo
    first, second, third = cluster.imap("m:f", [1, -1, 2], return_exceptions=True)
    assert (1, True, 2) == (first, isinstance(second, TaskFailed), third)


def test_what_the_iterable_raises_comes_after_the_results_before_it(
    toy: ToyScheduler, cluster: Submitter
) -> None:
    toy.autoend = echo

    def items() -> Iterator[int]:
        yield 1
        raise OSError("the camera is gone")

    flow = cluster.imap("m:f", items())
    assert 1 == next(flow)
    with pytest.raises(OSError, match="camera"):
        next(flow)


def test_leaving_a_flow_cancels_what_is_open(toy: ToyScheduler, cluster: Submitter) -> None:
    flow = cluster.imap("m:f", [1, 2, 3])
    taker = threading.Thread(target=lambda: next(flow))
    taker.start()
    wait_until(lambda: len(toy.tasks) == 3)
    first, *others = (ids.to_bytes(number) for number in toy.tasks)
    toy.end(first, value=values.encode(1))
    taker.join()
    flow.close()  # type: ignore[attr-defined]  # it is a generator
    (message,) = toy.heard_of(m.Cancel)
    assert others == message.tasks  # type: ignore[attr-defined]  # a Cancel


def test_leaving_a_flow_does_not_wait_for_an_iterable_that_blocks(
    toy: ToyScheduler, cluster: Submitter
) -> None:
    toy.autoend = echo
    go_on = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        go_on.wait(DEADLINE_S)

    flow = cluster.imap("m:f", items())
    assert 1 == next(flow)
    flow.close()  # type: ignore[attr-defined]  # it is a generator
    assert not go_on.is_set()
    go_on.set()


def test_a_flow_waits_while_the_queue_is_full(toy: ToyScheduler, cluster: Submitter) -> None:
    toy.autoend = echo
    full = iter([True, True])

    def submit(message: m.Message) -> m.Message:
        if next(full, False):
            return m.Failure("queue_full", "too many", retry_after_ms=1)
        return toy._answer(message)

    toy.on[m.Submit] = submit
    assert [1, 2] == list(cluster.imap("m:f", [1, 2]))


def test_a_flow_that_may_not_wait_says_that_the_queue_is_full(
    toy: ToyScheduler, cluster: Submitter
) -> None:
    toy.on[m.Submit] = lambda _: m.Failure("queue_full", "too many", retry_after_ms=1)
    with pytest.raises(QueueFull):
        next(cluster.options(when_full="fail").imap("m:f", [1]))


def test_a_refusal_is_raised_where_results_are_taken(toy: ToyScheduler, cluster: Submitter) -> None:
    toy.on[m.Submit] = lambda _: m.Failure("infeasible", "no node could")
    for verb in (cluster.imap, cluster.imap_unordered):
        with pytest.raises(RemudaError, match="no node could"):
            next(verb("m:f", [1]))


@pytest.mark.parametrize(
    ("options", "words", "error"),
    [
        ({}, {"window": 0}, ValueError),
        ({"once": "k"}, {}, Invalid),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(
    cluster: Submitter, options: dict[str, object], words: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        cluster.options(**options).imap("m:f", [1], **words)
    with pytest.raises(Invalid):
        cluster.imap("no function", [1])


def test_an_executor_maps_through_a_buffer(toy: ToyScheduler, cluster: Submitter) -> None:
    toy.autoend = echo
    with cluster.executor() as pool:
        found = pool.map("m:f", itertools.count(), buffersize=5)  # type: ignore[arg-type]  # a name
        assert [0, 1, 2] == list(itertools.islice(found, 3))
        found.close()  # type: ignore[attr-defined]  # it is a generator
