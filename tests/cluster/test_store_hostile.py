"""Does a store with rude, greedy and slow clients go on serving the others?"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from remuda.protocol import store_messages as m
from remuda.protocol.codec import encode
from remuda.protocol.messages import Message, Status
from remuda.store.turns import ACTIVE_PER_KEY_MAX, WAITING_PER_KEY_MAX
from remuda.transfer import digest_bytes
from remuda.transfer.link import Link

from ..fakes.raw import wait_for
from ..fakes.store_daemon import StoreDaemon, source_of, store_daemon

pytestmark = pytest.mark.cluster
CHUNK = 256 * 1024
LARGE = 20 * CHUNK
ANSWER_MS = 10_000
MEMORY_BYTES_MAX = 100 * 1024 * 1024


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreDaemon]:
    with store_daemon(tmp_path_factory.mktemp("store")) as daemon:
        yield daemon


@contextmanager
def linked(store: StoreDaemon, name: str = "bob") -> Iterator[Link]:
    """Open a bare connection; afterwards the store serves others as before."""
    link = Link(store.address, store.keys[name], store.public)
    link.open(time.monotonic() + 30)
    try:
        yield link
    finally:
        link.close()
    blob = os.urandom(1000)
    mover = store.mover("alice")
    mover.put([source_of(blob)])
    assert blob == mover.get_bytes(digest_bytes(blob).digest, b"", 1000)


def answer(link: Link) -> Message:
    heard = link.receive(ANSWER_MS)
    assert heard is not None, "the store did not answer"
    return heard.message


def begin(link: Link, size: int, request: int = 1) -> bytes:
    """Begin an upload of other bytes each time; return its digest once there is credit."""
    digest = os.urandom(32)
    link.send(m.PutObject(request, digest, size, False, []))
    seen = answer(link)
    while isinstance(seen, m.PutCredit) and seen.request != request:
        seen = answer(link)  # one that was asked again, on a busy host
    assert isinstance(seen, m.PutCredit)
    return digest


@pytest.mark.parametrize(
    "parts",
    [
        [b""],
        [b"garbage"],
        [os.urandom(100_000)],
        [encode(m.AskStore(1), 0), b"", b"", b""],
        [encode(Status(), 0)],
        [encode(m.StoreState(1, {}), 0)],
    ],
    ids=["empty", "text", "noise", "many parts", "not for a store", "an answer"],
)
def test_what_is_no_request_is_dropped(store: StoreDaemon, parts: list[bytes]) -> None:
    with linked(store) as link:
        assert link._socket is not None
        link._socket.send_multipart(parts)
        link.send(m.AskStore(7))
        assert 7 == answer(link).request  # type: ignore[attr-defined]  # each answer has one


@pytest.mark.parametrize(
    "chunk",
    [(CHUNK, CHUNK), (0, 0), (0, m.PIECE_BYTES_MAX + 1), (1 << 62, 1), (-1, 1)],
    ids=["out of order", "empty", "too long", "far away", "before the beginning"],
)
def test_a_chunk_that_was_not_asked_for_ends_the_upload(
    store: StoreDaemon, chunk: tuple[int, int]
) -> None:
    with linked(store) as link:
        begin(link, LARGE)
        link.send(m.PutChunk(1, chunk[0]), bytes(chunk[1]))
        failure = answer(link)
        assert isinstance(failure, m.StoreFailure)
        assert "invalid" == failure.code
    assert [] == [name for name in store.files() if "partial" in name]


def test_bytes_beyond_the_credit_end_the_upload(store: StoreDaemon) -> None:
    with linked(store) as link:
        for request in range(ACTIVE_PER_KEY_MAX):  # so many have credit for less than a piece each
            begin(link, LARGE, request)
        link.send(m.PutChunk(request, 0), bytes(m.PIECE_BYTES_MAX))
        seen = answer(link)
        while isinstance(seen, m.PutCredit):
            seen = answer(link)
        assert isinstance(seen, m.StoreFailure)
        assert (request, "invalid", True) == (seen.request, seen.code, "asked for" in seen.message)
        for other in range(request):
            link.send(m.Abandon(other))
        wait_for(lambda: store.state()["puts"]["active"] == 0, "the turns of the others to end")


@pytest.mark.parametrize(
    "message",
    [
        m.PutObject(1, b"short", 10, False, []),
        m.PutObject(1, bytes(32), -1, False, []),
        m.PutObject(1, bytes(32), 1 << 60, False, []),
        m.PutObject(1, bytes(32), 1 << 30, True, []),
        m.PutObject(1, bytes(32), 10, False, [b"no claim"]),
        m.GetObject(1, b"short", b"", 0, CHUNK),
        m.GetObject(1, bytes(32), b"no claim", 0, CHUNK),
        m.CheckObjects(1, [b"short"], [b""]),
        m.CheckObjects(1, [bytes(32)] * 1_001, [b""] * 1_001),
    ],
)
def test_a_request_that_cannot_be_is_refused(store: StoreDaemon, message: Message) -> None:
    with linked(store) as link:
        link.send(message)
        assert isinstance(answer(link), m.StoreFailure)


def test_bytes_that_come_along_must_be_the_whole_object(store: StoreDaemon) -> None:
    with linked(store) as link:
        link.send(m.PutObject(1, os.urandom(32), 100, False, []), bytes(99))
        assert isinstance(answer(link), m.StoreFailure)


def test_thousands_of_requests_are_bounded_and_the_others_served(store: StoreDaemon) -> None:
    with linked(store) as link:
        count = ACTIVE_PER_KEY_MAX + WAITING_PER_KEY_MAX + 500
        for request in range(count):
            link.send(m.PutObject(request, os.urandom(32), CHUNK, False, []))
        seen: dict[int, Message] = {}
        while len(seen) < ACTIVE_PER_KEY_MAX + 500:
            each: Any = answer(link)  # those that have their turn are asked again after a while
            seen.setdefault(each.request, each)
        refused = [each for each in seen.values() if isinstance(each, m.StoreFailure)]
        assert (500, {"queue_full"}) == (len(refused), {each.code for each in refused})
        blob = os.urandom(LARGE)
        mover = store.mover("alice")
        mover.put([source_of(blob)])
        assert blob == mover.get_bytes(digest_bytes(blob).digest, b"", LARGE)
    wait_for(lambda: store.state()["puts"]["active"] == 0, "the turns of who has gone to end")


def test_readers_that_do_not_read_hold_up_nobody_and_take_no_memory(store: StoreDaemon) -> None:
    blob = os.urandom(LARGE)
    digest = digest_bytes(blob).digest
    for name in ("bob", "alice"):
        store.mover(name).put([source_of(blob)])
    with linked(store) as link:
        for request in range(200):
            link.send(m.GetObject(request, digest, b"", 0, 1 << 50))
        wait_for(lambda: store.state()["gets"]["waiting"] > 0, "its readings to begin")
        for _ in range(3):
            assert blob == store.mover("alice").get_bytes(digest, b"", LARGE)
        assert store.process is not None
        assert psutil.Process(store.process.pid).memory_info().rss < MEMORY_BYTES_MAX


def test_an_upload_of_two_connections_of_one_key_is_one(store: StoreDaemon) -> None:
    blob = os.urandom(LARGE)
    digest = digest_bytes(blob).digest
    with linked(store) as first:
        first.send(m.PutObject(1, digest, LARGE, False, []))
        assert isinstance(answer(first), m.PutCredit)
        first.send(m.PutChunk(1, 0), blob[:CHUNK])
        (claim,) = store.mover("bob").put([source_of(blob)])
        assert digest == store.have("bob", claim).digest
        moved = answer(first)
        while isinstance(moved, m.PutCredit):
            moved = answer(first)
        assert isinstance(moved, m.StoreFailure)
        assert moved.retry_after_ms > 0
