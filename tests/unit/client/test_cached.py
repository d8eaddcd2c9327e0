"""Does the reader of the mirror believe only what it may, and ask nobody more often than needed?"""

from __future__ import annotations

from typing import Any

import pytest
import redis

from remuda.client.cached import PAUSE_S_MIN, Mirror
from remuda.protocol import mirrored
from remuda.protocol.errors import Invalid
from remuda.protocol.messages import Changes, Document, Status
from remuda.protocol.mirrored import Head, Revision

TASKS = [bytes([n]) * 16 for n in range(1, 4)]
PREFIX = mirrored.line_prefix("c", 4, 2)


class FakeLink:
    """A scheduler at a revision of its own, which counts what it is asked."""

    def __init__(self) -> None:
        self.own = Revision(4, 50)
        self.has_mirror = True
        self.asked: list[str] = []

    def request(self, message: Any, kind: type, **_: object) -> Any:
        self.asked.append(type(message).__name__)
        if isinstance(message, Status):
            return Document({"redis": {"cluster_id": "c"} if self.has_mirror else {}})
        assert kind is Changes
        return Changes(self.own.epoch, 0, False, [], [], [], [], [], [], [], self.own.rev)


class FakeRedis:
    """Answers GETRANGE from a dict of values or errors; counts its trips."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {}
        self.trips = 0
        self.is_down = False
        self._wanted: list[str] = []

    def pipeline(self, *, transaction: bool) -> FakeRedis:
        assert not transaction
        self._wanted = []
        return self

    def __enter__(self) -> FakeRedis:
        return self

    def __exit__(self, *_: object) -> None: ...

    def getrange(self, key: str, start: int, end: int) -> None:
        assert (0, mirrored.VALUE_BYTES_MAX) == (start, end)
        self._wanted.append(key)

    def execute(self, *, raise_on_error: bool) -> list[Any]:
        assert not raise_on_error
        self.trips += 1
        if self.is_down:
            raise redis.TimeoutError("Timeout reading from socket")
        return [self.keys.get(key, b"") for key in self._wanted]


class Rig:
    """A reader between a scheduler and a server, and what its client heard otherwise."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.link, self.redis = FakeLink(), FakeRedis()
        self.heard = Revision(0, 0)
        self.now_s = 0.0
        monkeypatch.setattr("remuda.client.cached._dial", lambda _: self.redis)
        self.mirror = Mirror(
            self.link,  # type: ignore[arg-type]  # it has what is used of it
            "redis://nowhere",
            lambda: self.heard,
            lambda: self.now_s,
        )
        self.head(rev=50)
        for task in TASKS:
            self.put(task, rev=10)

    def head(self, rev: int, epoch: int = 4) -> None:
        head = Head(epoch, 2, rev, 0)
        self.redis.keys[mirrored.head_key("c")] = mirrored.pack_value(head._asdict())

    def put(self, task: bytes, rev: int, state: str = "running") -> None:
        fields = {
            "epoch": 4, "rev": rev, "id": task, "state": state, "code": "", "attempt": 1,
            "node": "n", "created_ms": 1, "ended_ms": 0, "at_ms": 1,
        }  # fmt: skip
        self.redis.keys[mirrored.task_key(PREFIX, task)] = mirrored.pack_value(fields)

    def read(self, min_rev: tuple[int, int] | None = None) -> list[bytes]:
        return list(self.mirror.read(TASKS, min_rev))


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(monkeypatch)


def test_a_reader_learns_the_revision_once_and_then_reads_without_the_scheduler(rig: Rig) -> None:
    assert [TASKS, TASKS, TASKS] == [rig.read(), rig.read(), rig.read()]
    assert ["States", "Status"] == sorted(rig.link.asked)


def test_a_newer_mirror_costs_one_question_whatever_the_number_of_tasks(rig: Rig) -> None:
    rig.read()
    rig.link.own = Revision(4, 70)
    rig.head(rev=60)
    for task in TASKS:
        rig.put(task, rev=60)
    rig.link.asked.clear()
    assert (TASKS, ["States"]) == (rig.read(), rig.link.asked)


def test_a_head_of_the_future_is_refused_however_often_it_is_there(rig: Rig) -> None:
    rig.head(rev=51)
    assert [[], []] == [rig.read(), rig.read()]


def test_a_value_of_the_future_is_left_out_and_its_neighbours_are_not(rig: Rig) -> None:
    rig.put(TASKS[1], rev=51)
    assert [TASKS[0], TASKS[2]] == rig.read()


def test_an_error_for_one_key_leaves_out_that_key(rig: Rig) -> None:
    rig.redis.keys[mirrored.task_key(PREFIX, TASKS[0])] = redis.ResponseError("WRONGTYPE")
    assert TASKS[1:] == rig.read()


def test_what_the_client_heard_is_the_oldest_that_it_takes(rig: Rig) -> None:
    rig.heard = Revision(4, 50)
    enough = rig.read()
    rig.heard = Revision(4, 51)
    assert (TASKS, []) == (enough, rig.read())


def test_a_client_that_heard_nothing_takes_nothing_older_than_its_first_question(rig: Rig) -> None:
    rig.head(rev=49)
    first = rig.read()
    rig.head(rev=50)
    assert ([], TASKS) == (first, rig.read())


def test_a_wish_counts_instead_of_what_was_heard(rig: Rig) -> None:
    rig.heard = Revision(4, 50)
    rig.head(rev=20)
    assert (TASKS, TASKS, []) == (rig.read((0, 0)), rig.read((4, 20)), rig.read((4, 21)))


def test_a_mirror_of_the_epoch_before_is_refused_once_the_new_one_was_heard_of(rig: Rig) -> None:
    rig.read()
    rig.heard = Revision(5, 1)
    assert [] == rig.read((0, 0))


def test_a_server_that_fails_is_left_alone_for_a_while_that_grows(rig: Rig) -> None:
    rig.redis.is_down = True
    trips = []
    for _ in range(40):
        rig.read()
        rig.now_s += PAUSE_S_MIN
        trips.append(rig.redis.trips)
    assert (1, 6) == (
        trips[0],
        trips[-1],
    )  # at 0 and after 0.5, 1.5, 3.5, 7.5 and 15.5 s, not 40 times
    rig.redis.is_down = False
    rig.now_s += 60.0
    assert TASKS == rig.read()


def test_without_a_mirror_the_scheduler_is_not_asked_for_it_each_time(rig: Rig) -> None:
    rig.link.has_mirror = False
    assert [[], [], []] == [rig.read(), rig.read(), rig.read()]
    assert 1 == rig.link.asked.count("Status")


def test_a_url_that_leads_nowhere_is_refused_at_once_and_not_repeated() -> None:
    with pytest.raises(Invalid) as caught:
        Mirror(FakeLink(), "cache://:hush@host", lambda: Revision(0, 0))  # type: ignore[arg-type]  # never asked
    assert ("redis", False) == (caught.value.field, "hush" in str(caught.value))
