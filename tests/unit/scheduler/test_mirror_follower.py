"""Does the mirror process write in order, publish only what is complete, and give up in time?"""

from random import Random
from typing import Any

import msgpack
import pytest

from remuda.protocol import mirrored
from remuda.scheduler.mirror_follower import Follower
from remuda.scheduler.mirror_frames import Report, TaskRow, Tasks

from ...fakes.memory_redis import MemoryRedis

HELLO = {"cluster_id": "c", "epoch": 5, "ttl_s": 60.0, "changes_max": 100, "reconnect_s_max": 8.0}
ANN, BOB = b"a" * 16, b"b" * 16


class Rig:
    """A follower, its server, what it reported, and the time."""

    def __init__(self) -> None:
        self.redis = MemoryRedis()
        self.reports: list[Report] = []
        self.follower = Follower(HELLO, self.redis.dial, self.reports.append, Random(1))
        self.now_s = 100.0

    def tend(self, pass_s: float = 0.0) -> None:
        self.now_s += pass_s
        self.follower.tend(self.now_s)

    def tell(self, rev: int, *rows: TaskRow, news: bool = True, whole: bool = True) -> None:
        self.hear("tasks", *Tasks(rev, 1, news, whole, [list(row) for row in rows]))

    def hear(self, *frame: Any) -> None:
        self.follower.hear(list(frame))
        self.follower.flush(self.now_s)

    def follow(self, line: int = 1, rev: int = 10) -> None:
        self.tend()
        self.hear("begin", line)
        self.hear("complete", rev)

    def head(self) -> tuple[int, int] | None:
        head = self.redis.head()
        return None if head is None else (head.line, head.rev)

    def state_of(self, task: bytes, line: int = 1) -> str | None:
        blob = self.redis.keys.get(mirrored.task_key(f"remuda:c:5.{line}", task))
        return None if blob is None else str(msgpack.unpackb(blob)["state"])


def row(task: bytes, state: str) -> TaskRow:
    return TaskRow(task, state, "", 1, "n1", 0)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_connection_asks_for_a_line_until_one_begins(rig: Rig) -> None:
    rig.tend()
    rig.tend(2.0)
    rig.hear("begin", 1)
    rig.tend(2.0)
    assert [True, True, False] == [each.wants_line for each in rig.reports[-3:]]


def test_nothing_is_published_before_all_was_told(rig: Rig) -> None:
    rig.tend()
    rig.hear("begin", 1)
    rig.tell(3, row(ANN, "running"), news=False, whole=False)
    rig.tell(4, row(BOB, "queued"))
    before = rig.head()
    rig.hear("complete", 4)
    rig.tend(1.0)
    assert (None, (1, 4)) == (before, rig.head())
    assert ("running", "queued") == (rig.state_of(ANN), rig.state_of(BOB))


def test_a_turn_in_parts_is_published_with_its_last_part(rig: Rig) -> None:
    rig.follow(rev=10)
    rig.tell(11, row(ANN, "queued"), whole=False)
    between = rig.head()
    rig.tell(11, row(BOB, "queued"))
    assert ((1, 10), (1, 11)) == (between, rig.head())
    assert ["11-0", "11-1"] == rig.redis.stream


def test_only_news_enters_the_stream(rig: Rig) -> None:
    rig.follow()
    rig.tell(11, row(ANN, "queued"), news=False, whole=False)
    rig.tell(11, row(BOB, "queued"))
    assert ["11-0"] == rig.redis.stream


def test_after_a_failure_all_is_dropped_until_a_new_line(rig: Rig) -> None:
    rig.follow()
    rig.redis.is_broken = True
    rig.tell(11, row(ANN, "queued"))
    assert ("down", "TimeoutError: too slow") == rig.reports[-1][:2]
    rig.redis.is_broken = False
    rig.tell(12, row(BOB, "queued"))
    rig.tend(1.0)
    rig.tell(13, row(BOB, "running"))
    assert (1, 10) == rig.head()
    assert rig.state_of(BOB) is None
    assert rig.reports[-1].wants_line
    rig.hear("begin", 2)
    rig.tell(14, row(BOB, "running"), news=False)
    rig.hear("complete", 14)
    assert ((2, 14), "running") == (rig.head(), rig.state_of(BOB, line=2))
    assert rig.reports[-1].dropped >= 3


def test_a_server_that_stays_away_is_dialled_ever_more_seldom(rig: Rig) -> None:
    rig.redis.is_away = True
    for _ in range(60):
        rig.tend(1.0)
    # 0.1 s, doubled up to 8 s, each at least half of that: 14 tries take more than a minute.
    assert 5 <= rig.redis.dials <= 20
    assert {"down"} == {each.state for each in rig.reports}


def test_a_wiped_server_is_told_everything_anew(rig: Rig) -> None:
    rig.follow()
    rig.tend(1.0)
    assert not rig.reports[-1].wants_line
    rig.redis.keys.clear()
    rig.tend(10.0)
    assert rig.reports[-1].wants_line


def test_a_server_wiped_right_after_a_line_began_is_told_anew_as_soon_as_it_may(rig: Rig) -> None:
    rig.follow()
    rig.redis.keys.clear()
    rig.tend(1.0)
    at_once = rig.reports[-1].wants_line
    rig.tend(2.0)
    assert (False, True) == (at_once, rig.reports[-1].wants_line)


def test_a_server_wiped_before_the_line_was_published_is_told_everything_anew(rig: Rig) -> None:
    rig.tend()
    rig.hear("begin", 1)
    rig.tell(3, row(ANN, "running"), news=False, whole=False)
    rig.redis.keys.clear()
    rig.hear("complete", 3)
    rig.tend(10.0)
    assert rig.reports[-1].wants_line


def test_a_head_that_somebody_else_wrote_starts_a_new_line(rig: Rig) -> None:
    rig.follow()
    rig.redis.keys["remuda:c:head"] = b"not ours"
    rig.tend(10.0)
    assert rig.reports[-1].wants_line
    assert (1, 10) == rig.head()


def test_pages_of_a_line_that_never_began_are_dropped(rig: Rig) -> None:
    rig.redis.is_away = True
    rig.tend()
    rig.hear("begin", 1)
    rig.tell(1, row(ANN, "queued"))
    rig.hear("complete", 1)
    assert ({}, 1) == (rig.redis.keys, rig.follower._dropped)
