"""Does the operators' feed keep what matters, hide what is others', and wake who waits?"""

import pytest

from remuda.protocol.errors import Invalid
from remuda.protocol.ids import to_bytes
from remuda.protocol.messages import Events
from remuda.scheduler.events import Now
from remuda.scheduler.feed import FOLLOWERS_MAX, RING_ROWS, EventFeed, Told
from remuda.scheduler.feed_rows import Wanted, read_wanted
from remuda.scheduler.happenings import Happening, happenings
from remuda.scheduler.records import (
    AttemptEnded,
    Change,
    Effects,
    Note,
    SubmissionRow,
    TaskRow,
)
from remuda.scheduler.task import State

EPOCH = 7
ALL = Wanted()
LOST = Happening("node.lost", "warning", "node lost", node="n1")


def at(ms: int) -> Now:
    return Now(ms * 1_000_000, ms * 1_000_000)


def succeeded(task: int, owner: str = "ann") -> Happening:
    return Happening("task.succeeded", "info", "succeeded", "n1", task, 0, owner, 1)


@pytest.fixture
def feed() -> EventFeed:
    return EventFeed(EPOCH, 1)


def ask(
    feed: EventFeed, seq: int = 0, *, epoch: int = EPOCH, wait_ms: int = 0, limit: int = 100,
    wanted: Wanted = ALL, handle: int = 1, principal: str = "ann",
) -> list[Told]:  # fmt: skip
    return feed.ask(handle, Events(epoch, seq, wait_ms, limit, {}), principal, wanted, at(1))


def kinds(told: list[Told]) -> list[str]:
    return [row["kind"] for each in told for row in each.message.rows]


def test_the_newest_rows_come_oldest_first_with_a_cursor_behind_them(feed: EventFeed) -> None:
    feed.add([LOST, succeeded(1), succeeded(2)], 5)
    (told,) = ask(feed, epoch=0, limit=2)
    assert [to_bytes(1), to_bytes(2)] == [row["task"] for row in told.message.rows]
    assert (EPOCH, 4, False) == (told.message.epoch, told.message.seq, told.message.gap)


def test_a_cursor_gets_what_came_after_it_in_pages(feed: EventFeed) -> None:
    feed.add([succeeded(number) for number in range(1, 6)], 5)
    (first,) = ask(feed, 1, limit=3)
    (second,) = ask(feed, first.message.seq, limit=3)
    numbers = [row["seq"] for told in (first, second) for row in told.message.rows]
    assert [2, 3, 4, 5, 6] == numbers
    assert not first.message.gap | second.message.gap


def test_a_million_ends_of_tasks_evict_no_news_of_a_node(feed: EventFeed) -> None:
    failed = Happening("task.failed", "error", "failed", task=1, owner="ann")
    feed.add([LOST, failed], 5)
    feed.add((succeeded(1) for _ in range(3 * RING_ROWS["routine"])), 6)
    told = ask(feed, epoch=0, wanted=Wanted(kinds=("node", "scheduler", "task.failed")))
    assert ["scheduler.started", "node.lost", "task.failed"] == kinds(told)


def test_who_missed_rows_is_told_of_the_gap_and_gets_what_is_left(feed: EventFeed) -> None:
    feed.add((succeeded(number) for number in range(1, RING_ROWS["routine"] + 11)), 6)
    (told,) = ask(feed, 1, limit=1)
    assert (True, to_bytes(11)) == (told.message.gap, told.message.rows[0]["task"])


def test_a_gap_in_a_ring_that_nobody_asked_for_is_none(feed: EventFeed) -> None:
    feed.add((succeeded(1) for _ in range(RING_ROWS["routine"] + 10)), 6)
    (told,) = ask(feed, 1, wanted=Wanted(kinds=("node",)))
    assert not told.message.gap


@pytest.mark.parametrize(("epoch", "seq"), [(EPOCH - 1, 1), (EPOCH, 99)])
def test_a_cursor_of_another_life_starts_over_with_a_gap(
    feed: EventFeed, epoch: int, seq: int
) -> None:
    feed.add([LOST], 5)
    (told,) = ask(feed, seq, epoch=epoch, wait_ms=1_000)
    assert (True, EPOCH) == (told.message.gap, told.message.epoch)
    assert ["scheduler.started", "node.lost"] == kinds([told])


def test_who_waits_is_told_of_the_next_row_that_is_wanted(feed: EventFeed) -> None:
    assert [] == ask(feed, 1, wait_ms=10_000, wanted=Wanted(kinds=("node",)))
    feed.add([succeeded(1)], 5)
    assert [] == feed.due(5_000_000)
    feed.add([LOST], 6)
    assert [] == feed.due(6_000_000)  # so soon after the last look: what else comes goes along
    (told,) = feed.due(feed.due_ns)
    assert (1, ["node.lost"]) == (told.handle, kinds([told]))
    assert [] == feed.due(6_000_000_000)


def test_who_waited_long_enough_is_told_nothing_with_a_newer_cursor(feed: EventFeed) -> None:
    ask(feed, 1, wait_ms=1_000, wanted=Wanted(kinds=("node",)))
    feed.add([succeeded(1)], 5)
    (told,) = feed.due(2_000_000_000)
    assert ([], 2, False) == (told.message.rows, told.message.seq, told.message.gap)


def test_too_many_followers_send_the_oldest_back(feed: EventFeed) -> None:
    for handle in range(1, FOLLOWERS_MAX + 1):
        assert [] == ask(feed, 1, wait_ms=10_000, handle=handle)
    (told,) = ask(feed, 1, wait_ms=10_000, handle=99)
    assert (1, []) == (told.handle, told.message.rows)


def test_a_withdrawn_key_is_told_nothing_more(feed: EventFeed) -> None:
    ask(feed, 1, wait_ms=10_000, principal="eve")
    feed.forget("eve")
    feed.add([LOST], 5)
    assert [] == feed.due(5_000_000_000)


def test_a_submitter_reads_news_of_nodes_and_of_its_own_tasks_alone(feed: EventFeed) -> None:
    feed.add([LOST, succeeded(1, "ann"), succeeded(2, "bob")], 5)
    told = ask(feed, epoch=0, wanted=Wanted(owner="bob"))
    assert ["scheduler.started", "node.lost", "task.succeeded"] == kinds(told)
    assert to_bytes(2) == told[0].message.rows[-1]["task"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(node="n1"), ["node.lost", "task.succeeded"]),
        (Wanted(task=3), ["task.succeeded"]),
        (Wanted(batch=3), []),
        (Wanted(kinds=("task",)), ["task.succeeded"]),
        (Wanted(kinds=("node.lost", "task.failed")), ["node.lost"]),
        (Wanted(since_ms=5), ["node.lost", "task.succeeded"]),
        (Wanted(since_ms=6), []),
    ],
    ids=str,
)
def test_each_filter_narrows(feed: EventFeed, wanted: Wanted, expected: list[str]) -> None:
    feed.add([LOST, succeeded(3)], 5)
    assert expected == kinds(ask(feed, epoch=0, wanted=wanted))


@pytest.mark.parametrize(
    "filters",
    [{"nodes": "a"}, {"node": 1}, {"task": b"short"}, {"kinds": [1]}, {"kinds": ["x"] * 33},
     {"since_ms": "now"}],
    ids=str,
)  # fmt: skip
def test_a_filter_that_is_none_is_refused(filters: dict[str, object]) -> None:
    with pytest.raises(Invalid, match="filters"):
        read_wanted(filters, "")


def test_filters_are_read_and_the_owner_is_not_theirs_to_say() -> None:
    filters = {"node": "n", "task": to_bytes(1), "batch": to_bytes(2), "kinds": ["node"],
               "since_ms": 3}  # fmt: skip
    assert Wanted("ann", "n", 1, 2, ("node",), 3) == read_wanted(filters, "ann")


def test_a_trouble_of_the_scheduler_is_told_when_it_begins_and_when_it_is_over(
    feed: EventFeed,
) -> None:
    feed.compare({"disk": "the disk is full"}, 5)
    feed.compare({"disk": "the disk is full"}, 6)
    feed.compare({}, 7)
    told = ask(feed, epoch=0)
    rows = [(row["kind"], row["text"], row["at_ms"]) for row in told[0].message.rows[1:]]
    assert [
        ("scheduler.trouble", "the disk is full", 5),
        ("scheduler.trouble_over", "over: the disk is full", 7),
    ] == rows


# --- what a turn brings --------------------------------------------------------------------------


def change(state: State, code: str = "", attempt: int = 1) -> Change:
    return Change(b"s", 5, state, code, attempt, "n1", b"", b"", "ann", 4)


def ended(outcome: str, code: str = "", message: str = "") -> AttemptEnded:
    return AttemptEnded(5, 1, "n1", outcome, code, message, 9, 0)


@pytest.mark.parametrize(
    ("news", "attempt", "expected"),
    [
        (change(State.SUCCEEDED), ended("succeeded"), ("task.succeeded", "info", "succeeded")),
        (change(State.CANCELLED, "cancelled"), ended("killed"),
         ("task.cancelled", "info", "cancelled")),
        (change(State.FAILED, "exit_code"), ended("failed", "exit_code", "it exited with 3"),
         ("task.failed", "error", "failed: exit_code: it exited with 3")),
        (change(State.FAILED, "poison"), ended("lost", "node_lost", "n1: silent"),
         ("task.poisoned", "error", "failed: poison: n1: silent")),
        (change(State.WAITING, "exit_code"), ended("failed", "exit_code", "it exited with 3"),
         ("task.try_failed", "warning", "a try failed: exit_code: it exited with 3")),
        (change(State.QUEUED, "rejected"), ended("rejected", "", "no room"),
         ("task.requeued", "info", "requeued: rejected: no room")),
    ],
    ids=lambda each: each[0] if isinstance(each, tuple) and isinstance(each[0], str) else "",
)  # fmt: skip
def test_what_became_of_a_task_is_told_with_its_reason(
    news: Change, attempt: AttemptEnded, expected: tuple[str, str, str]
) -> None:
    effects = Effects(changes=[news])
    effects.commit.ended.append(attempt)
    (told,) = happenings(effects)
    assert expected == (told.kind, told.level, told.text)
    assert ("n1", 5, 4, "ann", 1) == (told.node, told.task, told.batch, told.owner, told.attempt)


@pytest.mark.parametrize("state", [State.ASSIGNED, State.RUNNING, State.STOPPING])
def test_grants_and_starts_are_not_told(state: State) -> None:
    assert [] == list(happenings(Effects(changes=[change(state)])))


def test_a_frame_of_tasks_is_told_once() -> None:
    effects = Effects()
    effects.commit.submissions.append(SubmissionRow("ann", b"k" * 16, 4, b"", 0, 10, 1_000, 9))
    effects.commit.tasks += [
        TaskRow(number + 100, number, 4, 1, "ann", "", b"", b"", "", 0, 9)
        for number in range(10, 1_010)
    ]
    (told,) = happenings(effects)
    assert ("task.submitted", "ann submitted 1,000 tasks from number 10") == (told.kind, told.text)
    assert (110, 4, "ann") == (told.task, told.batch, told.owner)


def test_notes_of_nodes_keep_their_level_and_their_facts() -> None:
    effects = Effects(rebind=["n2"])
    effects.notes += [
        Note("warning", "node lost", {"node": "n1", "why": "silent", "tasks_moved": 3}),
        Note("error", "result with a wrong token", {"node": "n3"}),
        Note("info", "something new", {"what": 1}),
    ]
    assert [
        ("node.joined", "info", "n2", "registered"),
        ("node.lost", "warning", "n1", "node lost (why silent, tasks_moved 3)"),
        ("node.note", "error", "n3", "result with a wrong token"),
        ("scheduler.note", "info", "", "something new (what 1)"),
    ] == [(each.kind, each.level, each.node, each.text) for each in happenings(effects)]
