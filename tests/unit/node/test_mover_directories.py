"""Do tasks' directories stay as long as they must, and go whatever is in them?"""

import os
import time

import pytest

from remuda.node.mover.directories import STRAY_S, Directories


def new_directories(folder, keep_s=600.0, bytes_max=1 << 30, living=()):
    directories = Directories(folder / "tasks", keep_s, bytes_max)
    directories.scan(living)
    return directories


def test_a_directory_goes_some_time_after_the_end(tmp_path):
    directories = new_directories(tmp_path)
    path = directories.make("ab.1")
    now = time.time()
    directories.expire(now + 10_000)
    assert path.exists()
    directories.end("ab.1")
    directories.expire(now + 500)
    assert path.exists()
    directories.expire(now + 700)
    assert not path.exists()


def test_what_an_earlier_agent_left_goes_unless_it_is_of_a_living_attempt(tmp_path):
    before = new_directories(tmp_path)
    lives, over = before.make("ab.1"), before.make("cd.1")
    after = new_directories(tmp_path, living=["ab.1"])
    after.expire(time.time() + 700)
    assert (True, False) == (lives.exists(), over.exists())


def test_a_directory_that_was_half_made_is_made_anew(tmp_path):
    directories = new_directories(tmp_path)
    (directories.make("ab.1") / "work" / "half").touch()
    assert [] == list((directories.make("ab.1") / "work").iterdir())


def test_the_oldest_go_first_when_they_take_too_much(tmp_path):
    directories = new_directories(tmp_path, bytes_max=100_000)
    for name in ("ab.1", "cd.1"):
        (directories.make(name) / "work" / "large").write_bytes(b"x" * 80_000)
        directories.end(name)
    directories.expire(time.time())
    root = directories.root
    assert (False, True) == ((root / "ab.1").exists(), (root / "cd.1").exists())


def test_ended_ones_are_given_up_when_the_disk_is_full_and_no_others(tmp_path):
    directories = new_directories(tmp_path)
    for name in ("ab.1", "cd.1", "ef.1"):
        (directories.make(name) / "work" / "large").write_bytes(b"x" * 80_000)
    directories.end("ab.1")
    directories.end("cd.1")
    directories.free(1)
    assert ["cd.1", "ef.1"] == sorted(path.name for path in directories.root.iterdir())
    directories.free(1_000_000_000)
    assert ["ef.1"] == [path.name for path in directories.root.iterdir()]


def test_folders_that_a_task_closed_are_removed_too(tmp_path):
    directories = new_directories(tmp_path)
    inner = directories.make("ab.1") / "work" / "closed" / "inner"
    inner.mkdir(parents=True)
    (inner / "file").touch()
    inner.chmod(0)
    inner.parent.chmod(0)
    directories.remove("ab.1")
    assert not (directories.root / "ab.1").exists()


@pytest.mark.parametrize("kind", ["link", "pipe", "deep"])
def test_nothing_that_a_task_leaves_keeps_its_directory(tmp_path, kind):
    directories = new_directories(tmp_path)
    work = directories.make("ab.1") / "work"
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").touch()
    if kind == "link":
        (work / "link").symlink_to(outside)
    elif kind == "pipe":
        os.mkfifo(work / "pipe")
    else:
        work.joinpath(*["d" * 200] * 15).mkdir(parents=True)
    directories.remove("ab.1")
    assert (False, True) == ((directories.root / "ab.1").exists(), (outside / "mine").exists())


def test_a_directory_of_which_nobody_tells_the_end_goes_after_a_long_while(tmp_path):
    directories = new_directories(tmp_path)
    visited, stray = directories.visit("ab.1"), directories.root / "cd.1"
    visited.mkdir()
    stray.mkdir()
    now = time.time()
    directories.expire(now + STRAY_S / 2)
    assert stray.exists()
    directories.expire(now + 2 * STRAY_S)
    assert (True, False) == (visited.exists(), stray.exists())
