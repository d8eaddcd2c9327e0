"""Do large objects rest while others want the CPUs, and small ones go on?"""

from types import SimpleNamespace
from typing import Any

import pytest

from remuda.protocol.store_messages import CHUNK_BYTES, GetChunk, GetObject, PutCredit, PutObject
from remuda.store.credits import Incoming
from remuda.store.gets import Gets
from remuda.store.keys import Holder
from remuda.store.rows import Row
from remuda.store.uploads import Put, Stage, Uploads, Where
from remuda.store.wire import Peer

HOLDER = Holder("key", "alice", "submit")
PEER = Peer(b"route", "key")


class Played:
    """What uploads and readings need around them: answers are kept, work is done at once."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.rest = 0.0

    def answer(self, _peer: Peer, message: Any, _data: bytes | None = None) -> bool:
        self.answers.append(message)
        return True

    def rest_s(self) -> float:
        return self.rest

    def submit(self, work: Any, then: Any) -> None:
        value = work()
        then(lambda: value)

    def open(self, _digest: bytes, _size: int) -> Any:
        return SimpleNamespace(read=lambda _at, count: bytes(count), close=lambda: None)


@pytest.fixture
def played() -> Any:
    return Played()


def uploads_with(played: Any, size: int) -> tuple[Uploads, Put]:
    uploads = Uploads(played, played, played, played, played, played)
    message = PutObject(1, bytes(32), size, False, [])
    put = Put(Where(PEER, 1), HOLDER, message, "name", Incoming(size), Stage.RECEIVING)
    return uploads, put


def test_a_large_upload_gets_credit_when_it_has_rested(played: Any) -> None:
    uploads, put = uploads_with(played, 10 * CHUNK_BYTES)
    played.rest = 0.1
    uploads.ask(put)
    uploads.start()
    assert ([], [put]) == (played.answers, uploads.resting)
    played.rest = 0.0
    uploads.start()
    assert ([PutCredit], []) == ([type(each) for each in played.answers], uploads.resting)


def test_a_small_upload_does_not_rest(played: Any) -> None:
    uploads, put = uploads_with(played, CHUNK_BYTES)
    played.rest = 0.1
    uploads.ask(put)
    assert [PutCredit] == [type(each) for each in played.answers]


def test_an_upload_that_ended_meanwhile_gets_none(played: Any) -> None:
    uploads, put = uploads_with(played, 10 * CHUNK_BYTES)
    played.rest = 0.1
    uploads.ask(put)
    put.stage = Stage.OVER
    played.rest = 0.0
    uploads.start()
    assert ([], []) == (played.answers, uploads.resting)


@pytest.mark.parametrize(("size", "sent"), [(CHUNK_BYTES, 1), (10 * CHUNK_BYTES, 0)])
def test_a_large_reading_goes_on_when_it_has_rested(played: Any, size: int, sent: int) -> None:
    rights: Any = SimpleNamespace(readable=lambda *_: Row(1, bytes(32), size, False, 0))
    gets = Gets(played, played, rights, played, played)
    played.rest = 0.1
    gets.on_get_object(PEER, HOLDER, GetObject(1, bytes(32), b"", 0, CHUNK_BYTES))
    gets.start()
    gets.start()
    assert [GetChunk] * sent == [type(each) for each in played.answers]
    played.rest = 0.0
    gets.start()
    assert [GetChunk] == [type(each) for each in played.answers]
