"""Does a real store keep what it is given, give it back, and to nobody else?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from remuda.protocol.errors import NotAllowed
from remuda.transfer import Source, Want, digest_bytes, digest_file

from ..fakes.store_daemon import StoreDaemon, source_of, store_daemon

pytestmark = pytest.mark.cluster
INLINE, CHUNK = 16 * 1024, 256 * 1024
LARGE = 3 * 1024 * 1024 + 17


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreDaemon]:
    with store_daemon(tmp_path_factory.mktemp("store")) as daemon:
        yield daemon


@pytest.mark.parametrize(
    "size", [0, 1, 16 * 1024, 16 * 1024 + 1, 256 * 1024, 256 * 1024 + 1, LARGE]
)
def test_bytes_of_any_size_come_back_as_they_were(store: StoreDaemon, size: int) -> None:
    blob = os.urandom(size)
    mover = store.mover()
    (claim,) = mover.put([source_of(blob)])
    assert digest_bytes(blob) == store.have("alice", claim).object
    assert blob == mover.get_bytes(*digest_bytes(blob)[:1], b"", size)


def test_files_come_back_and_what_is_there_is_not_sent_again(
    store: StoreDaemon, tmp_path: Path
) -> None:
    paths = [tmp_path / f"{number}.bin" for number in range(50)]
    for path in paths:
        path.write_bytes(os.urandom(100 * 1024))
    paths[0].write_bytes(os.urandom(LARGE))
    sources = [Source(path, *digest_file(path)) for path in paths]
    mover = store.mover()
    told: list[tuple[int, int]] = []
    claims = mover.put(sources, lambda done, total: told.append((done, total)))
    total = sum(source.size for source in sources)
    assert (total, total) == told[-1]
    told.clear()
    mover.put(sources, lambda done, total: told.append((done, total)))
    assert [(total, total)] == told
    wants = [
        Want(source.digest, claim, source.size, tmp_path / f"{number}.back")
        for number, (source, claim) in enumerate(zip(sources, claims, strict=True))
    ]
    mover.get(wants)
    back = [digest_file(want.path)[0] for want in wants]
    assert [source.digest for source in sources] == back


def test_the_digest_alone_opens_nothing(store: StoreDaemon) -> None:
    blob = os.urandom(1000)
    store.mover("alice").put([source_of(blob)])
    with pytest.raises(NotAllowed):
        store.mover("bob").get_bytes(digest_bytes(blob).digest, b"", 1000)
