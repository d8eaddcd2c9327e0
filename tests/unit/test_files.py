"""What can be done with a File, here and once it came home?"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from remuda.worker import files
from remuda.worker.files import File, Row

HELLO = Row("out/hello.sh", hashlib.sha256(b"hello").digest(), 5, "exec")


class Remote:
    def fetch(self, row: Row, path: Path) -> None:
        path.write_bytes(b"hello")


def received() -> File:
    return File.received(HELLO, source=Remote())


def test_a_local_file_is_a_path_with_a_name(tmp_path: Path) -> None:
    (tmp_path / "in.png").write_bytes(b"abc")
    file = File(tmp_path / "in.png")
    assert (str(tmp_path / "in.png"), "in.png", 3) == (os.fspath(file), file.name, file.size)
    assert hashlib.sha256(b"abc").hexdigest() == file.sha256
    assert "data/in.png" == File("x", name="data/in.png").name


@pytest.mark.parametrize("path", ["..", "a/..", "/", ""])
def test_a_path_without_a_name_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="name"):
        File(path)


def test_what_is_in_the_store_has_no_path_before_it_is_saved() -> None:
    with pytest.raises(FileNotFoundError, match="save"):
        os.fspath(received())


def test_a_received_file_is_saved_under_its_name(tmp_path: Path) -> None:
    path = received().save(tmp_path)
    assert (tmp_path / "out/hello.sh", b"hello") == (path, path.read_bytes())


def test_saving_overwrites_nothing_unless_told_to(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="force=True"):
        received().save(taken)
    assert b"mine" == taken.read_bytes()
    received().save(taken, force=True)
    assert b"hello" == taken.read_bytes()


def test_a_received_file_is_read_without_leaving_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert b"hello" == received().read_bytes()
    assert [] == list(tmp_path.iterdir())


def test_a_copied_program_stays_one_and_is_writable(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"#!/bin/sh\n")
    source.chmod(0o500)
    files.copy_file(source, tmp_path / "copy")
    assert os.access(tmp_path / "copy", os.X_OK)
    assert (tmp_path / "copy").stat().st_mode & 0o200
