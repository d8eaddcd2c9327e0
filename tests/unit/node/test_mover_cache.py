"""Is an object of the cache what its name says when it is used, and does the oldest go first?"""

import hashlib
import os
import threading

import pytest

from remuda.node.mover import cache as module
from remuda.node.mover import copying
from remuda.node.mover.cache import STRAY_S, Cache, NoRoom


def new_cache(folder, bytes_max=1 << 30, floor=0, boot="boot-1"):
    cache = Cache(folder / "cache", bytes_max, floor, boot)
    cache.scan()
    return cache


def bring(cache, content):
    """Let an object arrive; return its digest."""
    digest = hashlib.sha256(content).digest()
    path = cache.path(digest)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    cache.admit(digest)
    return digest


def is_here(cache, digest, size):
    mine, others = cache.claim({digest: size})
    cache.settle(mine)
    return (mine, others) == ([], [])


def test_an_object_that_arrived_is_here_and_read_only(tmp_path):
    cache = new_cache(tmp_path)
    digest = bring(cache, b"abc")
    assert is_here(cache, digest, 3)
    assert 0o444 == cache.path(digest).stat().st_mode & 0o777


def overwrite(path, content):
    path.chmod(0o600)
    path.write_bytes(content)


@pytest.mark.parametrize("content", [b"abX", b"abcd", b""])
def test_an_object_that_was_written_into_is_thrown_away(tmp_path, content):
    cache = new_cache(tmp_path)
    digest = bring(cache, b"abc")
    overwrite(cache.path(digest), content)
    assert not is_here(cache, digest, 3)
    assert (False, 0) == (cache.path(digest).exists(), cache.total_bytes)


def test_an_object_that_was_written_into_by_another_name_is_thrown_away(tmp_path):
    cache = new_cache(tmp_path)
    digest = bring(cache, b"abc")
    copying.link(cache.path(digest), tmp_path / "shown")
    overwrite(tmp_path / "shown", b"xyz")
    assert not is_here(cache, digest, 3)


def test_after_a_restart_of_the_host_an_object_is_hashed_before_it_is_used(tmp_path):
    digest = bring(new_cache(tmp_path), b"abc")
    path = new_cache(tmp_path).path(digest)
    stamp = path.stat().st_mtime_ns
    overwrite(path, b"abX")  # its bytes were not on the disk yet when the power went
    os.utime(path, ns=(stamp, stamp))
    assert not is_here(new_cache(tmp_path, boot="boot-2"), digest, 3)


def test_an_object_survives_a_restart_of_the_mover_and_of_the_host(tmp_path):
    digest = bring(new_cache(tmp_path), b"abc")
    for boot in ("boot-1", "boot-2", "boot-2"):
        cache = new_cache(tmp_path, boot=boot)
        assert (True, 3) == (is_here(cache, digest, 3), cache.total_bytes)


def test_the_object_that_nobody_used_for_longest_goes_first(tmp_path):
    cache = new_cache(tmp_path, bytes_max=30)
    first, second = bring(cache, b"a" * 10), bring(cache, b"b" * 10)
    assert is_here(cache, first, 10)
    cache.make_room(15)
    assert (True, False) == (cache.path(first).exists(), cache.path(second).exists())


def test_the_last_use_is_known_after_a_restart(tmp_path):
    before = new_cache(tmp_path)
    first, second = bring(before, b"a" * 10), bring(before, b"b" * 10)
    assert is_here(before, first, 10)
    cache = new_cache(tmp_path, bytes_max=30)
    cache.make_room(15)
    assert (True, False) == (cache.path(first).exists(), cache.path(second).exists())


def test_what_living_attempts_need_stays_and_goes_with_the_last_of_them(tmp_path):
    cache = new_cache(tmp_path, bytes_max=15)
    digest = hashlib.sha256(b"a" * 10).digest()
    cache.pin("one", [digest])
    cache.pin("two", [digest])
    bring(cache, b"a" * 10)
    bring(cache, b"b" * 10)
    cache.make_room(10)
    cache.unpin("one")
    assert cache.path(digest).exists()
    bring(cache, b"c" * 10)
    cache.unpin("two")
    assert cache.total_bytes <= 15


def test_nothing_is_fetched_that_would_fill_the_disk(tmp_path):
    cache = new_cache(tmp_path, floor=1 << 60)
    with pytest.raises(NoRoom):
        cache.make_room(1)


def test_what_the_disk_lacks_is_taken_from_old_objects_and_then_asked_for(tmp_path, monkeypatch):
    cache = new_cache(tmp_path, floor=100)
    digest, needed = bring(cache, b"a" * 10), bring(cache, b"b" * 10)
    cache.pin("one", [needed])
    free = 105
    monkeypatch.setattr(module, "free_bytes", lambda _: free - cache.total_bytes)
    asked = []

    def free_more(size):
        nonlocal free
        asked.append(size)
        free += size

    cache.free_more = free_more
    cache.hold_free(5)
    assert ([10], False, True) == (asked, *(cache.path(each).exists() for each in (digest, needed)))


def test_of_two_that_want_the_same_object_one_fetches_it_and_the_other_waits(tmp_path):
    cache = new_cache(tmp_path)
    digest = hashlib.sha256(b"abc").digest()
    mine, _ = cache.claim({digest: 3})
    assert ([digest], ([], [digest])) == (mine, cache.claim({digest: 3}))
    waiter = threading.Thread(target=cache.wait, args=([digest], 60.0))
    waiter.start()
    bring(cache, b"abc")
    cache.settle(mine)
    waiter.join(10)
    assert not waiter.is_alive()
    assert is_here(cache, digest, 3)


def test_an_arrival_that_was_cut_off_long_ago_is_removed_and_a_fresh_one_stays(tmp_path):
    cache = new_cache(tmp_path)
    folder = cache.path(b"d" * 32).parent
    folder.mkdir()
    fresh, stray = folder / "fresh.part", folder / "old.part"
    fresh.touch()
    stray.touch()
    old = stray.stat().st_mtime - STRAY_S - 1
    os.utime(stray, (old, old))
    new_cache(tmp_path)
    assert (True, False) == (fresh.exists(), stray.exists())


def test_a_copy_is_private_and_writable_and_a_program_can_be_run(tmp_path):
    cache = new_cache(tmp_path)
    digest = bring(cache, b"#!/bin/sh\n")
    target = tmp_path / "tool"
    copying.copy(cache.path(digest), target, executable=True)
    target.write_bytes(b"changed")
    assert (b"#!/bin/sh\n", True) == (
        cache.path(digest).read_bytes(),
        bool(target.stat().st_mode & 0o100),
    )
