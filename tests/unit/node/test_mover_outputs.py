"""Do patterns name the files that a task meant, and nothing outside of its directory?"""

import os

import pytest

from remuda.node.mover import outputs, words
from remuda.node.mover.outputs import OutputError, collect

GIB = 1 << 30


@pytest.fixture
def work(tmp_path):
    folder = tmp_path / "work"
    for name in ("a.png", "b.png", "c.txt", "out/d.png", "out/deep/e.png"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["a.png"], ["a.png"]),
        (["*.png"], ["a.png", "b.png"]),
        (["[bc].*"], ["b.png", "c.txt"]),
        (["?.txt", "*.png"], ["a.png", "b.png", "c.txt"]),
        (["out/*.png"], ["out/d.png"]),
        (["**/*.png"], ["a.png", "b.png", "out/d.png", "out/deep/e.png"]),
        (["out"], ["out/d.png", "out/deep/e.png"]),
        (["out/"], ["out/d.png", "out/deep/e.png"]),
        (["out/**"], ["out/d.png", "out/deep/e.png"]),
        (["o*"], ["out/d.png", "out/deep/e.png"]),
        (["out/**/e.png"], ["out/deep/e.png"]),
        (["a.png", "a*"], ["a.png"]),
    ],
)
def test_patterns_name_files_and_whole_folders(work, patterns, expected):
    assert expected == [output.name for output in collect(work, patterns, GIB)]


def error_of(work, *patterns, bytes_max=GIB):
    with pytest.raises(OutputError) as caught:
        collect(work, list(patterns), bytes_max)
    return caught.value.code, str(caught.value)


def test_a_pattern_that_matches_nothing_is_named_with_what_is_there(work):
    told = (
        "output '*.jpg' matches nothing; there are a.png, b.png, c.txt, out/d.png, out/deep/e.png"
    )
    assert ("output_missing", told) == error_of(work, "a.png", "*.jpg")


def test_an_empty_directory_is_said_to_be_empty(tmp_path):
    told = "output 'x' matches nothing: the task's directory is empty"
    assert ("output_missing", told) == error_of(tmp_path, "x")


@pytest.mark.parametrize("pattern", ["/etc/passwd", "../secret", "out/../../secret"])
def test_a_pattern_cannot_name_what_is_outside(work, pattern):
    (work.parent / "secret").write_text("mine")
    code, text = error_of(work, pattern)
    assert ("output_missing", True) == (code, "is not below the task's directory" in text)


@pytest.mark.parametrize("pattern", ["leak", "l*", "**"])
def test_a_link_that_leads_out_is_refused(work, pattern):
    (work.parent / "secret").write_text("mine")
    (work / "leak").symlink_to(work.parent / "secret")
    code, text = error_of(work, pattern)
    assert ("output_missing", True) == (code, "leads out of the task's directory" in text)


def test_a_folder_that_is_a_link_is_not_entered(work):
    (work.parent / "secret").mkdir()
    (work.parent / "secret" / "mine.png").touch()
    (work / "folder").symlink_to(work.parent / "secret")
    _, text = error_of(work, "folder/mine.png")
    assert "leads out of the task's directory" in text
    assert "a.png" == collect(work, ["**/a.png"], GIB)[0].name


def test_a_link_to_a_file_inside_is_that_file(work):
    (work / "last.png").symlink_to("out/d.png")
    (found,) = collect(work, ["last.png"], GIB)
    assert ("last.png", "out/d.png") == (found.name, found.path.read_text())


@pytest.mark.parametrize("target", ["nothing", "loop"])
def test_a_link_to_nothing_is_named(work, target):
    (work / "loop").symlink_to(target)
    code, text = error_of(work, "loop")
    assert ("output_missing", True) == (code, text.startswith("output loop"))


@pytest.mark.parametrize("name", [b"a\xff.png", b"a\n.png", b"a\\.png"])
def test_a_name_that_cannot_travel_is_refused_and_shown(work, name):
    (work / os.fsdecode(name)).touch()
    code, text = error_of(work, "*.png")
    assert ("output_missing", True) == (code, text.startswith("an output cannot travel"))
    words.encode(words.Failed("ab.1", code, text))


def test_pipes_are_passed_over(work):
    os.mkfifo(work / "pipe.png")
    assert ["a.png", "b.png"] == [output.name for output in collect(work, ["*.png"], GIB)]


def test_a_program_stays_one(work):
    (work / "a.png").chmod(0o755)
    assert [True, False] == [each.is_executable for each in collect(work, ["*.png"], GIB)]


def test_outputs_are_bounded_in_size_and_number(work, monkeypatch):
    assert "output_too_large" == error_of(work, "*.png", bytes_max=9)[0]
    monkeypatch.setattr(outputs, "FILES_MAX", 1)
    assert "output_too_large" == error_of(work, "*.png")[0]
    monkeypatch.setattr(outputs, "ENTRIES_MAX", 3)
    assert "output_too_large" == error_of(work, "*.png")[0]
