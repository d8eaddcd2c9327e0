"""Does a real store keep what it is given, give it back, and to nobody else?"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from remuda.config.keys import generate
from remuda.protocol import codec
from remuda.protocol import store_messages as m
from remuda.protocol.errors import (
    Conflict,
    DiskFull,
    Invalid,
    NotAllowed,
    NotFound,
    QueueFull,
    Unreachable,
    ValueTooLarge,
)
from remuda.protocol.trees import Entry, pack_tree
from remuda.transfer import Mover, Source, Want, digest_bytes, digest_file
from remuda.transfer.link import Link

from ..fakes.answering_scheduler import answering_scheduler
from ..fakes.raw import wait_for
from ..fakes.store_daemon import StoreDaemon, source_of, store_daemon

pytestmark = pytest.mark.cluster
INLINE, CHUNK = 16 * 1024, 256 * 1024
LARGE = 3 * 1024 * 1024 + 17
FAR = 1 << 59


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreDaemon]:
    with store_daemon(tmp_path_factory.mktemp("store")) as daemon:
        yield daemon
        assert {"active": 0, "waiting": 0, "finishing": 0} == daemon.state()["puts"]
        assert {"active": 0, "waiting": 0} == daemon.state()["gets"]


def put(store: StoreDaemon, blob: bytes, name: str = "alice") -> tuple[bytes, bytes]:
    """Put bytes; return their digest and the claim."""
    (claim,) = store.mover(name).put([source_of(blob)])
    return digest_bytes(blob).digest, claim


@pytest.mark.parametrize("size", [0, 1, INLINE, INLINE + 1, CHUNK, CHUNK + 1, LARGE])
def test_bytes_of_any_size_come_back_as_they_were(store: StoreDaemon, size: int) -> None:
    blob = os.urandom(size)
    digest, claim = put(store, blob)
    assert digest_bytes(blob) == store.have("alice", claim).object
    assert blob == store.mover().get_bytes(digest, b"", size)


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
    assert [] == [path.name for path in tmp_path.iterdir() if path.suffix == ".part"]


def test_a_node_of_the_release_before_is_understood_and_understands(
    store: StoreDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec, "VERSION", codec.VERSION - 1)
    blob = os.urandom(LARGE)
    digest, _ = put(store, blob)
    assert blob == store.mover().get_bytes(digest, b"", LARGE)


def test_a_reading_goes_on_from_what_is_there(store: StoreDaemon, tmp_path: Path) -> None:
    blob = os.urandom(LARGE)
    digest, claim = put(store, blob)
    (tmp_path / f".back.{digest.hex()[:16]}.part").write_bytes(blob[: LARGE // 2])
    told: list[int] = []
    want = Want(digest, claim, LARGE, tmp_path / "back")
    store.mover().get([want], lambda done, _: told.append(done))
    assert (LARGE // 2, blob) == (told[0], want.path.read_bytes())


def test_a_reading_that_was_begun_with_other_bytes_begins_anew(
    store: StoreDaemon, tmp_path: Path
) -> None:
    blob = os.urandom(LARGE)
    digest, claim = put(store, blob)
    (tmp_path / f".back.{digest.hex()[:16]}.part").write_bytes(b"something else")
    store.mover().get([Want(digest, claim, LARGE, tmp_path / "back")])
    assert blob == (tmp_path / "back").read_bytes()


@pytest.mark.parametrize("size", [100, LARGE])
def test_a_file_that_changed_meanwhile_is_told_by_name(
    store: StoreDaemon, tmp_path: Path, size: int
) -> None:
    path = tmp_path / "changing"
    path.write_bytes(os.urandom(size))
    source = Source(path, *digest_file(path))
    path.write_bytes(os.urandom(size))
    before = store.files()
    with pytest.raises(Conflict, match=r"changing changed while it was sent"):
        store.mover().put([source])
    assert before == store.files()


def test_the_digest_alone_opens_nothing(store: StoreDaemon) -> None:
    digest, _ = put(store, blob := os.urandom(1000))
    with pytest.raises(NotAllowed):
        store.mover("bob").get_bytes(digest, b"", 1000)
    assert [b""] == store.mover("bob").check([digest])
    assert blob == store.mover("alice").get_bytes(digest, b"", 1000)


def test_who_never_put_an_object_has_to_send_all_its_bytes(store: StoreDaemon) -> None:
    blob = os.urandom(LARGE)
    digest, _ = put(store, blob)
    told: list[int] = []
    (claim,) = store.mover("bob").put([source_of(blob)], lambda done, _: told.append(done))
    assert told[0] < LARGE, "it was taken for bob's without the bytes"
    assert digest == store.have("bob", claim).digest
    assert blob == store.mover("bob").get_bytes(digest, b"", LARGE)


def test_bytes_that_are_not_the_object_do_not_open_it(store: StoreDaemon) -> None:
    digest, _ = put(store, os.urandom(LARGE))
    with pytest.raises(Conflict):
        store.mover("bob").put([Source(os.urandom(LARGE), digest, LARGE)])
    with pytest.raises(NotAllowed):
        store.mover("bob").get_bytes(digest, b"", LARGE)


def test_a_claim_to_read_opens_the_object_and_gives_a_claim_to_refer_to_it(
    store: StoreDaemon,
) -> None:
    blob = os.urandom(1000)
    digest, _ = put(store, blob)
    reading = store.read_claim("n1", digest, 1000)
    mover = store.mover("n1")
    assert blob == mover.get_bytes(digest, reading, 1000)
    (claim,) = mover.check([digest], [reading])
    assert digest == store.have("n1", claim).digest


@pytest.mark.parametrize("flaw", ["of another key", "ended", "of another object", "forged"])
def test_a_claim_that_is_not_good_opens_nothing(store: StoreDaemon, flaw: str) -> None:
    digest, _ = put(store, os.urandom(1000))
    other, _ = put(store, os.urandom(10))
    claim = {
        "of another key": store.read_claim("alice", digest, 1000),
        "ended": store.read_claim("bob", digest, 1000, lives_s=-1),
        "of another object": store.read_claim("bob", other, 10),
        "forged": store.read_claim("bob", digest, 1000)[:-1] + b"x",
    }[flaw]
    with pytest.raises(NotAllowed):
        store.mover("bob").get_bytes(digest, claim, 1000)
    assert [b""] == store.mover("bob").check([digest], [claim])


def test_a_claim_to_what_has_gone_finds_nothing(store: StoreDaemon) -> None:
    digest = digest_bytes(os.urandom(5)).digest
    with pytest.raises(NotFound):
        store.mover("n1").get_bytes(digest, store.read_claim("n1", digest, 5), 5)


def make_tree(*blobs: bytes) -> bytes:
    return pack_tree(
        Entry(f"dir/{number}", *digest_bytes(blob), "file") for number, blob in enumerate(blobs)
    )


def test_who_may_read_a_tree_may_read_its_members(store: StoreDaemon) -> None:
    blobs = [os.urandom(1000), os.urandom(LARGE)]
    tree = make_tree(*blobs)
    store.mover().put([source_of(tree, tree=True), *map(source_of, blobs)])
    claim = store.read_claim("n1", *digest_bytes(tree))
    for blob in blobs:
        assert blob == store.mover("n1").get_bytes(digest_bytes(blob).digest, claim, len(blob))
    stranger, _ = put(store, os.urandom(7))
    with pytest.raises(NotAllowed):
        store.mover("n1").get_bytes(stranger, claim, 7)


def test_a_tree_opens_nothing_that_was_not_open_to_who_put_it(store: StoreDaemon) -> None:
    blob = os.urandom(1000)
    digest, _ = put(store, blob)
    tree = make_tree(blob)
    with pytest.raises(NotAllowed, match="dir/0"):
        store.mover("bob").put([source_of(tree, tree=True)])
    proof = store.read_claim("bob", digest, 1000)
    (claim,) = store.mover("bob").put([source_of(tree, tree=True, proofs=(proof,))])
    assert digest_bytes(tree) == store.have("bob", claim).object


def test_a_tree_that_is_none_is_refused(store: StoreDaemon) -> None:
    with pytest.raises(Invalid):
        store.mover().put([source_of(b"no tree at all", tree=True)])


def test_a_stranger_is_refused_at_the_door(store: StoreDaemon) -> None:
    stranger = Mover(store.address, generate(), store.public, patience_s=10)
    with pytest.raises(Unreachable, match="does not admit this key"):
        stranger.state()


def test_the_session_of_a_withdrawn_key_counts_for_nothing(tmp_path: Path) -> None:
    with store_daemon(tmp_path / "home") as own:
        link = Link(own.address, own.keys["bob"], own.public)
        link.open(time.monotonic() + 10)
        own.admit("alice", "root")
        link.send(m.AskStore(1))
        put(own, b"what alice puts is heard")
        assert link.receive(500) is None
        link.close()
        later = threading.Timer(0.5, own.admit, ("alice", "bob", "root"))
        later.start()
        assert 3 == own.mover("bob").state()["keys"]  # refused at first, admitted a moment later
        later.join()


def test_what_has_no_room_is_refused_before_bytes_move(tmp_path: Path) -> None:
    settings = '[store]\nmax_object = "4MiB"\nquota = "8MiB"\nuser_quota = "5MiB"\n'
    with store_daemon(tmp_path / "home", settings) as own:
        digest = digest_bytes(b"never sent").digest
        with pytest.raises(ValueTooLarge):
            own.mover().put([Source(b"", digest, 5 << 20)])
        put(own, os.urandom(3 << 20))
        with pytest.raises(QueueFull, match="user_quota") as caught:
            own.mover().put([Source(b"", digest, 3 << 20)])
        assert caught.value.retry_after_s > 0
        put(own, os.urandom(3 << 20), "n1")
        with pytest.raises(QueueFull, match="the store is full"):
            own.mover("n1").put([Source(b"", digest, 3 << 20)])
        assert (2, 6 << 20) == (own.state()["objects"], own.state()["bytes"])


def test_below_the_floor_of_the_disk_nothing_is_put(tmp_path: Path) -> None:
    with store_daemon(tmp_path / "home", f"[store]\ndisk_free_min = {FAR}\n") as own:
        with pytest.raises(DiskFull, match="disk_free_min"):
            put(own, b"x")
        assert [] == own.files()


SHORT = '[store]\nunclaimed_keep = "1s"\ncollect_every = "100ms"\npartial_keep = "1s"\n'


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreDaemon]:
    with store_daemon(tmp_path_factory.mktemp("short"), SHORT) as daemon:
        yield daemon


def gone(store: StoreDaemon, digest: bytes) -> bool:
    return not any(digest.hex() in name for name in store.files())


def test_what_nothing_refers_to_goes_and_what_a_task_refers_to_stays(short: StoreDaemon) -> None:
    kept, _ = put(short, os.urandom(1000))
    useless, _ = put(short, os.urandom(1000))
    with answering_scheduler(short.home) as scheduler:
        scheduler.held.add(kept)
        wait_for(lambda: gone(short, useless), "the object that nothing refers to to go")
        wait_for(lambda: scheduler.asked.count(kept) > 2, "the other to be asked about again")
        assert not gone(short, kept)
        scheduler.held.clear()
        wait_for(lambda: gone(short, kept), "it to go with its task")
    assert {} == short.state()["by_owner"]


def test_nothing_goes_while_no_scheduler_answers(short: StoreDaemon) -> None:
    digest, claim = put(short, os.urandom(1000))
    with answering_scheduler(short.home) as scheduler:
        scheduler.silent.set()
        wait_for(lambda: digest in scheduler.asked, "the question")
        assert store_time_is_over(short, claim)
        assert not gone(short, digest)
        scheduler.silent.clear()
        wait_for(lambda: gone(short, digest), "it to go once there is an answer")


def store_time_is_over(store: StoreDaemon, claim: bytes) -> bool:
    try:
        store.have("alice", claim)
    except NotAllowed:
        return True
    return False


def test_a_claim_given_between_question_and_removal_saves_the_object(short: StoreDaemon) -> None:
    blob = os.urandom(1000)
    digest, _ = put(short, blob)
    other, _ = put(short, os.urandom(1000))
    with answering_scheduler(short.home) as scheduler:
        scheduler.silent.set()
        wait_for(lambda: {digest, other} <= set(scheduler.asked), "the question")
        (claim,) = short.mover().check([digest])
        assert digest == short.have("alice", claim).digest
        scheduler.silent.clear()
        wait_for(lambda: gone(short, other), "the other to go")
        assert blob == short.mover().get_bytes(digest, b"", 1000)


def test_members_live_as_long_as_a_tree_that_is_referred_to(short: StoreDaemon) -> None:
    blobs = [os.urandom(1000), os.urandom(2000)]
    tree = make_tree(*blobs)
    short.mover().put([*map(source_of, blobs), source_of(tree, tree=True)])
    (root, _), useless = digest_bytes(tree), put(short, os.urandom(9))[0]
    members = [digest_bytes(blob).digest for blob in blobs]
    with answering_scheduler(short.home) as scheduler:
        scheduler.held.add(root)
        wait_for(lambda: scheduler.asked.count(root) > 2, "the tree to be asked about again")
        wait_for(lambda: gone(short, useless), "what is older to go")
        assert [False, False] == [gone(short, member) for member in members]
        scheduler.held.clear()
        for digest in (root, *members):
            wait_for(lambda digest=digest: gone(short, digest), "it to go")  # type: ignore[misc]  # a default is a value


def test_an_upload_that_nobody_resumes_goes(short: StoreDaemon) -> None:
    blob = os.urandom(LARGE)
    mover = short.mover()

    def stop_half_way(done: int, _total: int) -> None:
        if done > LARGE // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mover.put([source_of(blob)], stop_half_way)
    wait_for(lambda: [] == [name for name in short.files() if "partial" in name], "it to go")
    assert {"files": 0, "bytes": 0} == short.state()["partial"]
