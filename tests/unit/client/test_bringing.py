"""Do files of a task come home whole, inside their folder, and over nothing that is there?"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from remuda.client import bringing, bringing_many
from remuda.client.bringing_many import Member
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

    def outputs(self) -> dict[str, File]:
        return self.files

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


class Tasks:
    """Tasks by name, in the place of the store and the scheduler."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **fars: Far) -> None:
        self.fars = fars
        self.members = [Member(name, name.encode()) for name in fars]
        monkeypatch.setattr(bringing_many, "Far", lambda _link, key: fars[key.decode()])

    def bring(self, to: Path, *names: str, force: bool = False) -> list[bringing_many.Home]:
        found = bringing_many.bring_each(None, self.members, names, to, force=force)  # type: ignore[arg-type]
        return list(found)


def test_each_task_has_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = Tasks(monkeypatch, a=Far("x.txt"), b=Far(), c=Far("x.txt"))
    homes = tasks.bring(tmp_path)
    assert [1, 0, 1] == [len(home.files) for home in homes]
    assert ["a", "a/x.txt", "c", "c/x.txt"] == sorted(
        str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")
    )


def test_a_conflict_in_the_last_task_stops_all_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = Tasks(monkeypatch, a=Far("x.txt"), b=Far("x.txt"))
    (tmp_path / "b").mkdir()
    (tmp_path / "b/x.txt").write_text("mine!")
    with pytest.raises(Conflict, match=r"b/x\.txt.*--force"):
        tasks.bring(tmp_path)
    assert [] == tasks.fars["a"].fetched
    tasks.bring(tmp_path, force=True)
    assert "x.txt" == (tmp_path / "b/x.txt").read_text()


def test_a_name_has_to_be_that_of_a_file_of_some_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = Tasks(monkeypatch, a=Far("x.txt"), b=Far("y.txt"))
    assert [1, 0] == [len(home.files) for home in tasks.bring(tmp_path, "x.*")]
    with pytest.raises(NotFound, match=r"none of these tasks has a file 'z\.txt'"):
        tasks.bring(tmp_path, "x.*", "z.txt")


@pytest.mark.parametrize(
    ("state", "said"),
    [("running", "has not ended yet"), ("cancelled", "cancelled: nothing"), ("failed", "failed")],
)
def test_a_task_without_files_says_why(state: str, said: str) -> None:
    assert said in bringing_many.why_none(state)


def test_no_folder_can_be_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for to in (tmp_path / "file", tmp_path / "file/sub"):
        with pytest.raises(Conflict, match="is a file: name a folder"):
            bringing.check_folder(to)
    bringing.check_folder(tmp_path / "new/sub")
