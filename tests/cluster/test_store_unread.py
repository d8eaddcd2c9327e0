"""Does a store find out what a file is called that nobody read before it was sent?"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from remuda.protocol import store_messages as m
from remuda.protocol.errors import Conflict
from remuda.transfer import Source, digest_bytes, unread
from remuda.transfer.link import Link

from ..fakes.raw import wait_for
from ..fakes.store_daemon import StoreDaemon, store_daemon

pytestmark = pytest.mark.cluster
CHUNK = 256 * 1024
LARGE = 20 * CHUNK + 17


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreDaemon]:
    with store_daemon(tmp_path_factory.mktemp("store")) as daemon:
        yield daemon
        idle = {"active": 0, "waiting": 0, "finishing": 0}
        wait_for(lambda: daemon.state()["puts"] == idle, "an end of all uploads")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "large"
    made.write_bytes(os.urandom(LARGE))
    return made


def test_its_claim_tells_its_digest_and_it_is_kept_under_that(
    store: StoreDaemon, path: Path
) -> None:
    (claim,) = store.mover("n1").put([unread(path)])
    found = store.have("n1", claim)
    assert digest_bytes(path.read_bytes()) == found.object
    assert path.read_bytes() == store.mover("n1").get_bytes(found.digest, b"", LARGE)


def test_it_is_one_object_with_the_same_bytes_that_were_put_by_their_digest(
    store: StoreDaemon, path: Path
) -> None:
    digest = digest_bytes(path.read_bytes()).digest
    store.mover("alice").put([Source(path, digest, LARGE)])
    before = store.files()
    (claim,) = store.mover("alice").put([unread(path)])
    assert (digest, before) == (store.have("alice", claim).digest, store.files())


def test_a_sender_that_starts_anew_goes_on_where_the_last_one_was(
    store: StoreDaemon, path: Path
) -> None:
    blob, source = path.read_bytes(), unread(path)
    link = Link(store.address, store.keys["n1"], store.public)
    link.open(time.monotonic() + 30)
    link.send(m.PutObject(1, source.digest, LARGE, False, []))
    link.receive(10_000)
    link.send(m.PutChunk(1, 0), blob[: 2 * CHUNK])
    while (heard := link.receive(10_000)) is not None:
        if isinstance(heard.message, m.PutCredit) and heard.message.offset == 2 * CHUNK:
            break
    link.close()
    told: list[int] = []
    (claim,) = store.mover("n1").put([unread(path)], lambda done, _: told.append(done))
    assert (2 * CHUNK, digest_bytes(blob).digest) == (told[0], store.have("n1", claim).digest)


def test_one_that_is_written_to_on_its_way_is_told_by_name(store: StoreDaemon, path: Path) -> None:
    def write(_done: int, _total: int) -> None:
        with path.open("r+b") as file:
            file.write(b"other")

    with pytest.raises(Conflict, match=r"large changed while it was sent"):
        store.mover("n1").put([unread(path)], write)


@pytest.mark.parametrize(
    "message",
    [
        m.PutObject(1, bytes(16), CHUNK, False, []),
        m.PutObject(1, bytes(16), 10 * CHUNK, True, []),
    ],
    ids=["small", "tree"],
)
def test_small_objects_and_trees_have_a_digest(store: StoreDaemon, message: m.PutObject) -> None:
    link = Link(store.address, store.keys["n1"], store.public)
    link.open(time.monotonic() + 30)
    link.send(message)
    heard = link.receive(10_000)
    link.close()
    assert heard is not None
    assert isinstance(heard.message, m.StoreFailure)
