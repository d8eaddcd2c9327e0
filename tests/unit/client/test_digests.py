"""Is a file read again exactly when it may have changed?"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from remuda.client.digests import SETTLED_NS, Digests


def settled(path: Path, blob: bytes, age_ns: int = 10 * SETTLED_NS) -> Path:
    path.write_bytes(blob)
    when = time.time_ns() - age_ns
    os.utime(path, ns=(when, when))
    return path


def asked(tmp_path: Path, *paths: Path) -> tuple[list[bytes], int]:
    """Ask for digests as a new process would; return them and how many files were read."""
    digests = Digests(tmp_path, tmp_path / "cache")
    found = [digests.of(path, path.stat())[0] for path in paths]
    digests.save()
    return found, digests.read


def test_an_unchanged_file_is_read_once(tmp_path: Path) -> None:
    path = settled(tmp_path / "a", b"one")
    expected = [hashlib.sha256(b"one").digest()]
    assert (expected, 1) == asked(tmp_path, path)
    assert (expected, 0) == asked(tmp_path, path)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = settled(tmp_path / "a", b"one")
    asked(tmp_path, path)
    settled(path, b"two", 9 * SETTLED_NS)
    assert ([hashlib.sha256(b"two").digest()], 1) == asked(tmp_path, path)


def test_a_file_replaced_by_another_with_its_times_is_read_again(tmp_path: Path) -> None:
    path = settled(tmp_path / "a", b"one")
    before = path.stat()
    asked(tmp_path, path)
    other = settled(tmp_path / "b", b"two")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)
    assert ([hashlib.sha256(b"two").digest()], 1) == asked(tmp_path, path)


def test_a_file_that_was_just_written_is_not_trusted(tmp_path: Path) -> None:
    path = settled(tmp_path / "a", b"one", 0)
    asked(tmp_path, path)
    assert 1 == asked(tmp_path, path)[1]


def test_a_damaged_cache_costs_only_time(tmp_path: Path) -> None:
    path = settled(tmp_path / "a", b"one")
    asked(tmp_path, path)
    (cache,) = (tmp_path / "cache/digests").iterdir()
    cache.write_bytes(b"\x92\x01\xc1")
    assert 1 == asked(tmp_path, path)[1]
