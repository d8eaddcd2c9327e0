"""Which files of a folder go along: with git, without it, and when it is too much?"""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from remuda.client import folders
from remuda.client.digests import Digests
from remuda.client.folders import Folder
from remuda.protocol.errors import Invalid, NotFound
from remuda.protocol.trees import Entry, unpack_tree


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    (made / "pkg").mkdir(parents=True)
    (made / "pkg/a.py").write_text("a = 1\n")
    (made / "run.sh").write_text("#!/bin/sh\n")
    (made / "run.sh").chmod(0o755)
    return made


def git(root: Path, *words: str) -> None:
    subprocess.run(
        ["git", "-C", root, "-c", "user.name=x", "-c", "user.email=x@y", *words],
        check=True,
        capture_output=True,
    )


def entries(found: Folder) -> list[Entry]:
    content = found.sources[0].content
    assert isinstance(content, bytes)
    assert found.digest == hashlib.sha256(content).digest()
    return unpack_tree(content)


def names(found: Folder) -> list[str]:
    return [entry.name for entry in entries(found)]


def digests(root: Path) -> Digests:
    return Digests(root, root.parent / "cache")


def test_a_folder_goes_along_with_all_that_is_in_it(root: Path) -> None:
    (root / "__pycache__").mkdir()
    (root / "__pycache__/a.pyc").write_bytes(b"x")
    found = folders.folder(root, digests=digests(root))
    assert ["__pycache__/a.pyc", "pkg/a.py", "run.sh"] == names(found)
    assert ["file", "file", "exec"] == [entry.kind for entry in entries(found)]


def test_without_git_code_goes_along_but_for_the_usual_excludes(root: Path) -> None:
    for place in (".git", "__pycache__", "node_modules/x", ".venv/lib"):
        (root / place).mkdir(parents=True)
        (root / place / "file").write_text("x")
    (root / "pkg/a.pyc").write_bytes(b"x")
    (root / ".git").rename(root / ".hg")
    assert ["pkg/a.py", "run.sh"] == names(folders.project(root, digests(root)))


def test_with_git_tracked_files_go_along_as_they_are_on_disk(root: Path) -> None:
    (root / "gone.py").write_text("x")
    git(root, "init", "-q")
    git(root, "add", ".")
    (root / "pkg/a.py").write_text("a = 2\n")
    (root / "gone.py").unlink()
    (root / "new.py").write_text("x")
    (root / "ignored.log").write_text("x")
    (root / ".gitignore").write_text("*.log\n")
    found = folders.project(root, digests(root))
    assert ["pkg/a.py", "run.sh"] == names(found)
    assert hashlib.sha256(b"a = 2\n").digest() == entries(found)[0].digest
    assert 2 == found.untracked  # new.py and .gitignore


def test_a_folder_inside_a_repository_is_a_project_of_its_own(root: Path) -> None:
    git(root, "init", "-q")
    git(root, "add", ".")
    assert ["a.py"] == names(folders.project(root / "pkg", digests(root)))


def test_an_unchanged_project_is_the_same_tree_and_is_not_read_again(root: Path) -> None:
    import os

    for path in root.rglob("*.*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    first = folders.project(root, digests(root))
    second = folders.project(root, digests(root))
    assert (first.digest, 2, 0) == (second.digest, first.read, second.read)


def test_a_project_that_is_too_large_names_its_largest_files(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "weights.bin").write_bytes(bytes(3000))
    monkeypatch.setattr(folders, "PROJECT_BYTES_MAX", 1000)
    with pytest.raises(Invalid, match=r"the largest are weights\.bin .*send it with files="):
        folders.project(root, digests(root))


def test_a_link_to_a_file_travels_as_the_file(root: Path) -> None:
    (root / "link.py").symlink_to("pkg/a.py")
    sent = entries(folders.folder(root, digests=digests(root)))
    found = {entry.name: entry.digest for entry in sent}
    assert found["pkg/a.py"] == found["link.py"]


@pytest.mark.parametrize("target", ["nowhere", "pkg", "/dev/null"])
def test_what_is_no_file_in_a_folder_is_named(root: Path, target: str) -> None:
    (root / "odd").symlink_to(target)
    with pytest.raises((Invalid, NotFound), match="odd"):
        folders.folder(root, digests=digests(root))


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="project: there is no folder"):
        folders.project(tmp_path / "nowhere")
