"""Do files of a task come home whole, inside their folder, and over nothing that is there?"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from remuda.client import bringing
from remuda.protocol.errors import Conflict, NotFound
from remuda.worker.files import File, Row


class Far:
    """A task whose files have their own names as bytes."""

    def __init__(self, *names: str) -> None:
        self.fetched: list[Path] = []
        self.files = {
            name: File.received(
                Row(name, hashlib.sha256(name.encode()).digest(), len(name), "file"), source=self
            )
            for name in names
        }

    def fetch(self, row: Row, path: Path) -> None:
        path.write_text(row.name)

    def fetch_all(self, files: Sequence[tuple[File, Path]]) -> None:
        for file, path in files:
            path.write_text(file.name)
            self.fetched.append(path)


def brought(far: Far, to: Path, *, force: bool = False) -> bringing.Brought:
    return bringing.bring(far, list(far.files.values()), to, force=force)  # type: ignore[arg-type]


def test_files_come_under_their_names(tmp_path: Path) -> None:
    done = brought(Far("a.txt", "sub/b.txt"), tmp_path / "new")
    assert [tmp_path / "new/a.txt", tmp_path / "new/sub/b.txt"] == done.brought
    assert "sub/b.txt" == (tmp_path / "new/sub/b.txt").read_text()


def test_one_that_is_there_and_the_same_is_left_alone(tmp_path: Path) -> None:
    far = Far("a.txt", "b.txt")
    (tmp_path / "a.txt").write_text("a.txt")
    done = brought(far, tmp_path)
    assert ([tmp_path / "b.txt"], [tmp_path / "a.txt"]) == (done.brought, done.same)
    assert [tmp_path / "b.txt"] == far.fetched


def test_one_that_differs_stops_all_before_anything_is_fetched(tmp_path: Path) -> None:
    far = Far("a.txt", "b.txt")
    (tmp_path / "b.txt").write_text("mine!")
    with pytest.raises(Conflict, match=r"b\.txt.*--force"):
        brought(far, tmp_path)
    assert ([], "mine!") == (far.fetched, (tmp_path / "b.txt").read_text())
    brought(far, tmp_path, force=True)
    assert "b.txt" == (tmp_path / "b.txt").read_text()


def test_a_link_that_leads_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "to").mkdir()
    (tmp_path / "to/sub").symlink_to(tmp_path / "outside")
    with pytest.raises(Conflict, match="leads out"):
        brought(Far("sub/b.txt"), tmp_path / "to", force=True)
    assert [] == list((tmp_path / "outside").iterdir())


def test_names_and_patterns_choose() -> None:
    files = Far("a.txt", "b.txt", "c.png").files
    assert ["a.txt", "b.txt"] == [file.name for file in bringing.chosen(files, ["*.txt"])]
    assert ["c.png"] == [file.name for file in bringing.chosen(files, ["c.png"])]
    with pytest.raises(NotFound, match=r"no file 'd\*': it has a\.txt"):
        bringing.chosen(files, ["d*"])
