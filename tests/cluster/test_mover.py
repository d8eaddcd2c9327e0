"""Does a real mover bring what tasks need and store what they leave, whatever dies meanwhile?"""

import hashlib
import json
import os
import signal
import struct
import time

import pytest

from remuda.node.mover import delivering, words
from remuda.protocol import claims
from remuda.protocol.trees import unpack_tree

from ..fakes.mover_driver import DEADLINE_S, mover_of
from ..fakes.raw import wait_for
from ..fakes.store_daemon import store_daemon

pytestmark = pytest.mark.cluster
MIB = 1 << 20


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with store_daemon(tmp_path_factory.mktemp("store")) as daemon:
        yield daemon


@pytest.fixture
def mover(store, tmp_path):
    with mover_of(tmp_path, store) as made:
        yield made


def test_files_lie_in_the_directory_under_their_names_private_and_writable(mover):
    digest, size, claim = mover.put(os.urandom(3 * MIB))
    tool, tool_size, tool_claim = mover.put(b"#!/bin/sh\n")
    work = mover.prepare(
        "aa.1",
        files=[("data/in.bin", digest, size, "file"), ("tool", tool, tool_size, "exec")],
        claims=claim + tool_claim,
    )
    assert mover.fetched(digest, size) == (work / "data/in.bin").read_bytes()
    assert os.access(work / "tool", os.X_OK)
    (work / "data/in.bin").write_bytes(b"mine")
    second = mover.prepare("aa.2", files=[("in.bin", digest, size, "file")], claims=claim)
    assert mover.fetched(digest, size) == (second / "in.bin").read_bytes()


def test_a_folder_and_a_project_come_with_all_their_files(mover):
    folder = mover.put_tree({"a.txt": b"a", "sub/b.txt": b"b"})
    project = mover.put_tree({"run.sh": b"#!/bin/sh\n", "pkg/mod.py": b"X = 1\n"}, "run.sh")
    work = mover.prepare(
        "ab.1", files=[("in", *folder[:2], "tree")], project=project[0],
        claims=folder[2] + project[2],
    )  # fmt: skip
    found = sorted(str(path.relative_to(work)) for path in work.rglob("*") if path.is_file())
    assert ["in/a.txt", "in/sub/b.txt", "pkg/mod.py", "run.sh"] == found
    assert os.access(work / "run.sh", os.X_OK)


def test_objects_of_a_call_are_shown_read_only_by_their_digest(mover):
    digest, size, claim = mover.put(os.urandom(1000))
    work = mover.prepare("ac.1", objects=[digest], claims=claim, is_command=False)
    shown = work.with_name("objects") / digest.hex()
    assert (mover.fetched(digest, size), 0o444) == (
        shown.read_bytes(),
        shown.stat().st_mode & 0o777,
    )


def test_a_project_is_unpacked_once_and_needs_no_directory_of_a_task(mover):
    project = mover.put_tree({"pkg/mod.py": b"X = 2\n"})
    order = {"project": project[0], "claims": project[2], "is_command": False}
    mover.prepare("ad.1", has_directory=False, **order)
    module = mover.project(project[0]) / "pkg/mod.py"
    first = module.stat()
    mover.prepare("ad.2", has_directory=False, **order)
    assert (first.st_ino, False) == (module.stat().st_ino, mover.work("ad.1").exists())
    assert 0o555 == module.parent.stat().st_mode & 0o777


def test_a_second_task_with_the_same_files_transfers_nothing(mover, store):
    digest, size, claim = mover.put(os.urandom(MIB))
    order = {"files": [("in", digest, size, "file")], "claims": claim}
    mover.prepare("ae.1", **order)
    mover.tell(words.Reach("127.0.0.1", 1, store.public))  # where nobody listens
    assert MIB == (mover.prepare("ae.2", **order) / "in").stat().st_size


def test_a_file_that_was_changed_in_the_cache_is_fetched_again(mover):
    blob = os.urandom(1000)
    digest, size, claim = mover.put(blob)
    order = {"files": [("in", digest, size, "file")], "claims": claim}
    mover.prepare("af.1", **order)
    path = mover.cached(digest)
    path.chmod(0o600)
    path.write_bytes(b"x" * 1000)
    assert blob == (mover.prepare("af.2", **order) / "in").read_bytes()


def test_many_that_want_the_same_object_at_once_get_it(mover):
    digest, size, claim = mover.put(os.urandom(8 * MIB))
    names = [f"b{number}.1" for number in range(8)]
    for name in names:
        mover.prepare(name, wait=False, files=[("in", digest, size, "file")], claims=claim)
    for name in names:
        mover.wait_for(words.Prepared, name)
        assert size == (mover.work(name) / "in").stat().st_size


@pytest.mark.parametrize("claimed", [True, False])
def test_what_is_gone_or_nobody_entitles_to_is_input_missing(mover, store, claimed):
    digest = os.urandom(32)
    claim = store.read_claim("n1", digest, 5) if claimed else b""
    mover.prepare("ba.1", wait=False, files=[("in", digest, 5, "file")], claims=claim)
    assert "input_missing" == mover.failure("ba.1").code


def test_an_unreachable_store_is_network_once_patience_is_over(store, tmp_path):
    with mover_of(tmp_path, store, patience_s=1.0) as mover:
        digest, size, claim = mover.put(b"abc")
        mover.tell(words.Reach("127.0.0.1", 1, store.public))
        mover.prepare("bb.1", wait=False, files=[("in", digest, size, "file")], claims=claim)
        assert "network" == mover.failure("bb.1").code


def test_no_file_is_fetched_onto_a_disk_that_is_nearly_full(store, tmp_path):
    with mover_of(tmp_path, store, disk_free_bytes_min=1 << 60) as mover:
        digest, size, claim = mover.put(b"abcd")
        mover.prepare("bc.1", wait=False, files=[("in", digest, size, "file")], claims=claim)
        assert "disk_full" == mover.failure("bc.1").code


def digests_of(blob):
    return {claims.read(each).digest for each in claims.split(blob)}


def test_outputs_are_stored_under_their_names_with_claims(mover, store):
    work = mover.prepare("ca.1")
    (work / "out").mkdir()
    (work / "out/a.png").write_bytes(b"picture")
    (work / "tool").write_bytes(b"#!/bin/sh\n")
    (work / "tool").chmod(0o755)
    told = mover.deliver("ca.1", "out/*.png", "tool")
    assert [("out/a.png", 7, "file"), ("tool", 10, "exec")] == [
        (name, size, kind) for name, _, size, kind in told.outputs
    ]
    assert [b"picture", b"#!/bin/sh\n"] == [mover.fetched(*row[1:3]) for row in told.outputs]
    assert {row[1] for row in told.outputs} == digests_of(told.claims)
    for each in claims.split(told.claims):
        store.have("n1", each)


def test_many_outputs_are_one_tree(mover):
    work = mover.prepare("cb.1")
    for number in range(delivering.ROWS_MAX + 1):
        (work / f"{number:02}.txt").write_text(str(number))
    ((name, digest, size, kind),) = mover.deliver("cb.1", "*.txt").outputs
    entries = unpack_tree(mover.fetched(digest, size))
    assert (".", "tree", delivering.ROWS_MAX + 1, "00.txt") == (
        name,
        kind,
        len(entries),
        entries[0].name,
    )


def test_a_pattern_that_matches_nothing_fails(mover):
    work = mover.prepare("cc.1")
    (work / "a.txt").touch()
    mover.tell(words.Deliver("cc.1", ["*.png"], False, ""))
    told = mover.failure("cc.1")
    assert ("output_missing", "output '*.png' matches nothing; there are a.txt") == (
        told.code,
        told.message,
    )


def test_what_a_function_returned_is_stored(mover):
    work = mover.prepare("cd.1")
    (work / "out.png").write_bytes(b"picture")
    (work.parent / "value").write_bytes(b"value")
    rows = [
        ["out.png", "work/out.png", "file", hashlib.sha256(b"picture").hexdigest()],
        ["", "value", "file", hashlib.sha256(b"value").hexdigest()],
    ]
    (work.parent / delivering.RETURNED).write_text(json.dumps(rows))
    told = mover.deliver("cd.1", returns=True)
    assert ["out.png"] == [row[0] for row in told.outputs]
    assert 2 == len(digests_of(told.claims))


def test_a_returned_file_that_changed_is_not_passed_off_as_what_it_was(mover):
    work = mover.prepare("ce.1")
    (work / "out.png").write_bytes(b"picture")
    rows = [["out.png", "work/out.png", "file", "00" * 32]]
    (work.parent / delivering.RETURNED).write_text(json.dumps(rows))
    mover.tell(words.Deliver("ce.1", [], True, ""))
    assert "output_missing" == mover.failure("ce.1").code


LARGE = delivering.HASHED_BYTES_MAX + 1


def test_large_outputs_are_stored_under_what_the_store_calls_them(mover, store):
    work = mover.prepare("ch.1")
    (work / "model.bin").write_bytes(blob := os.urandom(LARGE))
    (work / "note.txt").write_bytes(b"note")
    told = mover.deliver("ch.1", "*")
    expected = [[hashlib.sha256(each).digest(), len(each)] for each in (blob, b"note")]
    assert expected == [row[1:3] for row in told.outputs]
    assert {digest for digest, _ in expected} == digests_of(told.claims)
    assert blob == mover.fetched(*expected[0])


def test_a_large_file_that_was_returned_must_be_what_it_was(mover):
    blob = os.urandom(LARGE)
    for name, digest in (("ci.1", hashlib.sha256(blob).hexdigest()), ("ci.2", "00" * 32)):
        work = mover.prepare(name)
        (work / "out.bin").write_bytes(blob)
        rows = [["out.bin", "work/out.bin", "file", digest]]
        (work.parent / delivering.RETURNED).write_text(json.dumps(rows))
        mover.tell(words.Deliver(name, [], True, ""))
    ((name, digest, size, _),) = mover.wait_for(words.Delivered, "ci.1").outputs
    assert ("out.bin", blob) == (name, mover.fetched(digest, size))
    assert "output_missing" == mover.failure("ci.2").code


def test_nothing_outside_of_its_directory_is_returned(mover, tmp_path):
    work = mover.prepare("cg.1")
    (tmp_path / "secret").write_bytes(b"mine")
    rows = [["x", "../../secret", "file", hashlib.sha256(b"mine").hexdigest()]]
    (work.parent / delivering.RETURNED).write_text(json.dumps(rows))
    mover.tell(words.Deliver("cg.1", [], True, ""))
    assert "output_missing" == mover.failure("cg.1").code


def test_a_log_is_stored_whole_and_says_what_is_missing(mover, tmp_path):
    logs = tmp_path / "a"
    logs.mkdir()
    (logs / "out").write_bytes(b"head")
    (logs / "out.tail").write_bytes(struct.pack("<Q", 100) + b"tail")
    (logs / "err").write_bytes(b"short")
    told = mover.deliver("cf.1", logs_dir=str(logs))
    assert {
        "out": b"head\n[remuda: 92 bytes were not kept]\ntail",
        "err": b"short",
    } == {stream: mover.fetched(*row) for stream, row in told.logs.items()}


def kill(mover):
    """Kill the mover and start another one, as an agent does."""
    os.kill(mover.porter.pid, signal.SIGKILL)
    deadline = time.monotonic() + DEADLINE_S
    while mover.porter.is_up:
        assert time.monotonic() < deadline
        mover.heard += mover.porter.hear(time.monotonic_ns())
    mover.start()


def test_a_mover_that_is_killed_leaves_nothing_half_and_the_next_one_goes_on(mover):
    digest, size, claim = mover.put(os.urandom(64 * MIB))
    order = {"files": [("in", digest, size, "file")], "claims": claim}
    mover.prepare("da.1", wait=False, **order)
    wait_for(lambda: any(mover.cached(digest).parent.glob("*")), "its first bytes")
    kill(mover)
    path = mover.cached(digest)
    assert not path.exists() or size == path.stat().st_size
    work = mover.prepare("da.1", **order)
    assert size == (work / "in").stat().st_size
    assert [path] == list(path.parent.iterdir())


def test_a_store_that_is_killed_meanwhile_is_waited_for(tmp_path):
    with (
        store_daemon(tmp_path / "store") as store,
        mover_of(tmp_path / "node", store) as mover,
    ):
        digest, size, claim = mover.put(os.urandom(64 * MIB))
        mover.prepare("db.1", wait=False, files=[("in", digest, size, "file")], claims=claim)
        wait_for(lambda: any(mover.cached(digest).parent.glob("*")), "its first bytes")
        store.stop(signal.SIGKILL)
        store.start()
        mover.wait_for(words.Prepared, "db.1")
        assert size == (mover.work("db.1") / "in").stat().st_size


def test_the_directory_of_an_attempt_goes_after_its_time_and_is_kept_until_then(store, tmp_path):
    with mover_of(tmp_path, store, keep_s=0.0) as mover:
        over, lives = mover.prepare("dd.1"), mover.prepare("dd.2")
        mover.tell(words.End("dd.1"))
        wait_for(lambda: not over.parent.exists(), "the end of the directory")
        assert lives.exists()


def test_the_cache_returns_to_its_bound_when_nobody_needs_it(store, tmp_path):
    with mover_of(tmp_path, store, cache_bytes_max=MIB) as mover:
        digest, size, claim = mover.put(os.urandom(2 * MIB))
        mover.prepare("de.1", files=[("in", digest, size, "file")], claims=claim)
        assert mover.cached(digest).exists()
        mover.tell(words.End("de.1"))
        wait_for(lambda: not mover.cached(digest).exists(), "the cache at its bound")


def test_a_preparation_that_is_given_up_ends_and_leaves_nothing(store, tmp_path):
    with mover_of(tmp_path, store, keep_s=0.0, patience_s=60.0) as mover:
        digest, size, claim = mover.put(b"abc")
        mover.tell(words.Reach("127.0.0.1", 0, ""))
        mover.prepare("df.1", wait=False, files=[("in", digest, size, "file")], claims=claim)
        mover.tell(words.Cancel("df.1"))
        mover.tell(words.End("df.1"))
        mover.tell(words.Reach("127.0.0.1", store.port, store.public))
        mover.prepare("df.2", files=[("in", digest, size, "file")], claims=claim)
        assert not mover.work("df.1").exists()
