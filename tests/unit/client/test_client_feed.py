"""Are events read as they were told, on and on, with a mark where some are gone?"""

import asyncio
import datetime as dt
from typing import Any

import pytest

from remuda.client.async_client import AsyncClient
from remuda.client.client import Client
from remuda.client.feed import GAP, Event
from remuda.protocol import ids
from remuda.protocol import messages as m
from remuda.protocol.errors import Invalid

from ...fakes.toy_scheduler import ToyScheduler, home_of

BATCH = 7 << 80


def row(seq: int, **fields: Any) -> dict[str, Any]:
    return {
        "seq": seq,
        "at_ms": 1_500,
        "kind": "node.joined",
        "level": "info",
        "text": "",
        **fields,
    }


ANSWERS = [
    m.EventRows(1, 5, False, [row(5)]),
    m.EventRows(1, 9, False, []),
    m.EventRows(1, 12, True, [row(12)]),
    m.EventRows(2, 1, True, [row(1, kind="scheduler.started")]),
]


@pytest.fixture
def toy(toy: ToyScheduler) -> ToyScheduler:
    answers = iter(ANSWERS)
    toy.on[m.Events] = lambda _: next(answers)
    return toy


def told(toy: ToyScheduler) -> list[tuple[int, int, dict[str, Any]]]:
    heard: list[Any] = toy.heard_of(m.Events)
    return [(message.epoch, message.seq, message.filters) for message in heard]


def test_a_row_becomes_an_event_with_ids_as_people_write_them(toy: ToyScheduler) -> None:
    member = ids.to_bytes(ids.member(BATCH, 3))
    rows = [row(4, task=member, batch=ids.to_bytes(BATCH), owner="ann", attempt=2, code="timeout")]
    toy.on[m.Events] = lambda _: m.EventRows(1, 4, False, rows)
    with Client(home_of(toy)) as cluster:
        (event,) = cluster.events()
    at = dt.datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=dt.UTC)
    task = f"{ids.format_id(BATCH)}.3"
    assert event == Event(4, at, "node.joined", "info", "", "", task, "ann", 2, "timeout")


def test_without_follow_one_answer_is_all(toy: ToyScheduler) -> None:
    with Client(home_of(toy)) as cluster:
        assert [5] == [event.seq for event in cluster.events(node="n1", kind="node", limit=7)]
    assert [(0, 0, {"node": "n1", "kinds": ["node"]})] == told(toy)


def test_following_hands_each_cursor_back_and_marks_what_is_gone(toy: ToyScheduler) -> None:
    with Client(home_of(toy)) as cluster:
        news = cluster.events(follow=True)
        found = [next(news) for _ in range(5)]
    kinds = ["node.joined", GAP, "node.joined", GAP, "scheduler.started"]
    assert kinds == [event.kind for event in found]
    assert ("it keeps no more", "was restarted") == (found[1].text[-16:], found[3].text[-13:])
    assert [(0, 0), (1, 5), (1, 9), (1, 12)] == [cursor[:2] for cursor in told(toy)][:4]


def test_events_are_followed_from_an_event_loop(toy: ToyScheduler) -> None:
    async def main() -> list[str]:
        found = []
        async with AsyncClient(home_of(toy)) as cluster:
            async for event in cluster.events(follow=True):
                found.append(event.kind)
                if event.kind == "scheduler.started":
                    break
        return found

    kinds = ["node.joined", GAP, "node.joined", GAP, "scheduler.started"]
    assert kinds == asyncio.run(main())


@pytest.mark.parametrize("since", ["yesterday", "2026-01-31T18:00:00", [1]], ids=str)
def test_a_time_that_is_none_is_refused_before_anything_is_asked(
    toy: ToyScheduler, since: object
) -> None:
    with Client(home_of(toy)) as cluster, pytest.raises(Invalid, match="since"):
        next(cluster.events(since=since))
    assert [] == told(toy)


def test_pruning_goes_in_slices_to_the_end_of_the_cursor(toy: ToyScheduler) -> None:
    cursors = iter(["a", "b", ""])

    def prune(message: m.Message) -> m.Message:
        assert isinstance(message, m.Prune)
        count = len(message.tasks) or 10
        cursor = "" if message.tasks else next(cursors)
        return m.Document({"removed": count, "open": 0, "unknown": 0, "cursor": cursor})

    toy.on[m.Prune] = prune
    with Client(home_of(toy)) as cluster:
        batch = cluster.map("m:f", range(m.PRUNE_MAX + 1))
        assert m.PRUNE_MAX + 1 == cluster.prune(batch)
        assert 30 == cluster.prune(states=["failed"], older="1d")
        assert 0 == cluster.prune()
    heard: list[Any] = toy.heard_of(m.Prune)
    assert [m.PRUNE_MAX, 1, 0, 0, 0] == [len(message.tasks) for message in heard]
    assert ["", "a", "b"] == [message.cursor for message in heard[2:]]
    assert all(message.before_ms and message.filters for message in heard[2:])
