"""Is each line of a file an entry, or named with what is wrong with it?"""

import pytest

from remuda.cli.entries import Entries
from remuda.protocol.errors import Invalid, NotFound
from remuda.protocol.messages import VALUE_BYTES_MAX


def entries(tmp_path, blob):
    path = tmp_path / "lines.txt"
    path.write_bytes(blob)
    return Entries(str(path))


@pytest.mark.parametrize(
    ("blob", "found"),
    [
        (b"a\nb c\n", ["a", "b c"]),
        (b"a\r\nb", ["a", "b"]),
        (b"\xef\xbb\xbfa\n", ["a"]),
        (b" a \n\xc3\xa9\x0b\n", [" a ", "\u00e9\x0b"]),
        (b"", []),
    ],
)
def test_a_line_is_an_entry_without_its_end(tmp_path, blob, found):
    assert found == list(entries(tmp_path, blob))


def test_blank_lines_are_skipped_and_counted(tmp_path):
    read = entries(tmp_path, b"\na\n  \t\n\r\nb\n")
    assert (["a", "b"], 3) == (list(read), read.skipped)


def test_a_file_is_counted_before_it_is_read(tmp_path):
    read = entries(tmp_path, b"a\n\nb\n")
    assert (2, ["a", "b"]) == (read.count(), list(read))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"a\0b", "NUL"),
        (b"\xff", "not UTF-8"),
        (b"x" * (VALUE_BYTES_MAX + 1), "more than 65,536 bytes"),
        (b"x" * (VALUE_BYTES_MAX + 9), "more than 65,536 bytes"),
    ],
)
def test_a_line_that_is_no_entry_is_named(tmp_path, line, said):
    with pytest.raises(Invalid, match=f"lines.txt, line 3: .*{said}"):
        entries(tmp_path, b"a\nb\n" + line + b"\nc\n").count()


def test_the_longest_entry_is_taken_whole(tmp_path):
    longest = "x" * VALUE_BYTES_MAX
    assert [longest, "b"] == list(entries(tmp_path, longest.encode() + b"\r\nb"))


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(NotFound, match=r"no file nowhere\.txt"):
        Entries("nowhere.txt").count()
