"""Does a bucket keep objects as a folder does? Shown with the library's store in memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from remuda.protocol.errors import Refused
from remuda.store.backend import Backend, Staged
from remuda.store.bucket import Bucket, open_bucket
from remuda.store.local import LocalFolder
from remuda.transfer import digest_bytes

obstore_store = pytest.importorskip("obstore.store")
SIZE = 100_000


@pytest.fixture(params=["folder", "bucket"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    return (
        LocalFolder(tmp_path) if request.param == "folder" else Bucket(obstore_store.MemoryStore())
    )


def staged(tmp_path: Path, blob: bytes) -> Staged:
    path = tmp_path / digest_bytes(blob).digest.hex()
    path.write_bytes(blob)
    return Staged(*digest_bytes(blob), path)


def test_what_is_published_can_be_read_in_ranges(backend: Backend, tmp_path: Path) -> None:
    blob = os.urandom(SIZE)
    one = staged(tmp_path, blob)
    backend.bring(one)
    backend.publish([one])
    reader = backend.open(one.digest, SIZE)
    assert (blob[:10], blob[-10:]) == (reader.read(0, 10), reader.read(SIZE - 10, 10))
    reader.close()
    assert [one.digest] == list(backend.digests())
    assert not one.path.exists()


def test_what_is_removed_is_not_found(backend: Backend, tmp_path: Path) -> None:
    one = staged(tmp_path, os.urandom(SIZE))
    backend.bring(one)
    backend.publish([one])
    backend.remove([one.digest, bytes(32)])
    assert [] == list(backend.digests())
    with pytest.raises(FileNotFoundError):
        backend.open(one.digest, SIZE).read(0, 1)


def test_what_is_removed_between_its_upload_and_its_publication_is_there(
    backend: Backend, tmp_path: Path
) -> None:
    blob = os.urandom(SIZE)
    one = staged(tmp_path, blob)
    backend.bring(one)
    backend.remove([one.digest])
    backend.publish([one])
    assert blob == backend.open(one.digest, SIZE).read(0, SIZE)


def test_a_staged_object_that_is_dropped_leaves_no_file(backend: Backend, tmp_path: Path) -> None:
    one = staged(tmp_path, os.urandom(SIZE))
    backend.bring(one)
    backend.drop(one)
    assert not one.path.exists()


def test_an_object_that_is_shorter_than_it_should_be_is_not_read(
    backend: Backend, tmp_path: Path
) -> None:
    one = staged(tmp_path, os.urandom(SIZE))
    backend.bring(one)
    backend.publish([one])
    with pytest.raises(OSError, match="bytes"):
        backend.open(one.digest, SIZE + 1).read(SIZE - 1, 2)


def test_a_bucket_that_is_none_is_refused_by_the_name_of_the_setting() -> None:
    with pytest.raises(Refused, match=r"\[store\] url"):
        open_bucket("ftp://nowhere/at/all")
