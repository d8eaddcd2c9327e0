"""Does the queue yield by priority and age, skip what is full, and forget what has left it?"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from remuda.protocol.resources import Request
from remuda.scheduler.buckets import Buckets
from remuda.scheduler.task import Policy, Spec, State, Task

POLICIES = {priority: Policy(priority, 0, 1, 1, 1) for priority in range(101)}


def queued(number: int, priority: int = 50, cpus_milli: int = 1_000, owner: str = "ana") -> Task:
    spec = Spec(1, Request(cpus_milli), POLICIES[priority], "command", owner)
    return Task(number, number, 0, spec, b"")


def drained(buckets: Buckets, revision: int = 1) -> list[int]:
    """Take every task as placement does when there is room for all."""
    order = []
    for bucket in buckets.ready(revision):
        task = bucket.head()
        assert task is not None
        bucket.pop()
        order.append(task.number)
    return order


def put_all(*tasks: Task) -> Buckets:
    buckets = Buckets(lambda _task: False)
    for task in tasks:
        buckets.put(task)
    return buckets


@given(
    st.lists(
        st.tuples(
            st.sampled_from([10, 50, 90]), st.sampled_from([500, 1_000]), st.sampled_from("ab")
        ),
        max_size=20,
    )
)
@settings(derandomize=True, deadline=None)
def test_all_buckets_together_yield_by_priority_and_age(
    rows: list[tuple[int, int, str]],
) -> None:
    tasks = [queued(number, *row) for number, row in enumerate(rows)]
    expected = sorted(tasks, key=lambda task: (-task.spec.policy.priority, task.number))
    assert [task.number for task in expected] == drained(put_all(*tasks))


@given(st.permutations(range(8)))
@settings(derandomize=True, deadline=None)
def test_tasks_that_come_back_take_their_old_places(numbers: list[int]) -> None:
    buckets = put_all(*(queued(number) for number in range(8, 12)))
    for number in numbers:
        buckets.put(queued(number), front=True)
    assert list(range(12)) == drained(buckets)


@given(st.lists(st.one_of(st.sampled_from([10, 50, 90]), st.none()), max_size=20))
@settings(derandomize=True, deadline=None)
def test_the_most_urgent_is_known_whatever_came_and_began_since(said: list[int | None]) -> None:
    """A priority queues a task; without one the task that is most urgent begins."""
    buckets, waiting = Buckets(lambda _task: False), [queued(0)]
    buckets.put(waiting[0])
    for number, priority in enumerate(said, 1):
        if priority is not None:
            waiting.append(queued(number, priority))
            buckets.put(waiting[-1])
        urgent = buckets.most_urgent()
        highest = max((task.spec.policy.priority for task in waiting), default=0)
        assert highest == (urgent.spec.policy.priority if urgent else 0)
        if priority is None and urgent is not None:
            urgent.state = State.ASSIGNED
            waiting.remove(urgent)


def test_a_full_bucket_is_skipped_until_the_fleet_changes() -> None:
    buckets = put_all(queued(1, cpus_milli=9_000, priority=90), queued(2), queued(3))
    order = []
    for bucket in buckets.ready(revision=7):
        task = bucket.head()
        assert task is not None
        if task.number == 1:
            bucket.blocked_at = 7
            continue
        bucket.pop()
        order.append(task.number)
    assert [2, 3] == order
    assert [] == drained(buckets, revision=7)
    assert [1] == drained(buckets, revision=8)


def test_a_task_that_was_cancelled_is_dropped_when_its_turn_comes() -> None:
    gone, stays = queued(1), queued(2)
    buckets = put_all(gone, stays)
    gone.state = State.CANCELLED
    assert [2] == drained(buckets)


def test_an_empty_bucket_is_forgotten_and_made_again() -> None:
    buckets = put_all(queued(1))
    assert [1] == drained(buckets)
    assert [] == drained(buckets)
    buckets.put(queued(2))
    assert [2] == drained(buckets)


def test_a_retry_that_avoids_a_node_waits_in_a_bucket_of_its_own() -> None:
    plain, avoiding = queued(1), queued(2)
    avoiding.avoid = ("n1",)
    keys = {bucket.key.avoid for bucket in taken(put_all(plain, avoiding))}
    assert {(), ("n1",)} == keys


def taken(buckets: Buckets) -> list:
    found = []
    for bucket in buckets.ready(1):
        found.append(bucket)
        bucket.pop()
    return found


def test_what_arrives_while_the_queue_is_walked_comes_at_the_next_walk() -> None:
    buckets = put_all(queued(1))
    order = []
    for bucket in buckets.ready(1):
        if not order:
            buckets.put(queued(2, priority=90, cpus_milli=500))
        task = bucket.head()
        assert task is not None
        bucket.pop()
        order.append(task.number)
    assert [1] == order
    assert [2] == drained(buckets)


def test_a_task_is_found_that_joins_a_bucket_which_had_run_empty() -> None:
    buckets = put_all(queued(1))
    first = drained(buckets)
    buckets.put(queued(2))
    assert ([1], [2]) == (first, drained(buckets))
