"""Which entries does a file have, one on each line, and which line is none?"""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..protocol.errors import Invalid, NotFound
from ..protocol.messages import VALUE_BYTES_MAX
from ..protocol.spec import check_entry
from .arriving import lines_as_they_come

ENTRIES_MAX = 10_000_000
OURS = "-"
OPTION = "each-line"
_BOM = b"\xef\xbb\xbf"


class Entries:
    """The lines of a file, or of our standard input (`-`), read one by one.

    None comes where a pipe pauses: what it brought so far can go on its way. Blank lines are none;
    `skipped` counts them. Raises Invalid, which names file and line.
    """

    def __init__(self, path: str) -> None:
        self.name = "stdin" if path == OURS else path
        self._path = path
        self.skipped = 0

    def count(self) -> int | None:
        """Check every line and return how many entries there are; None where that reads them up."""
        if not is_file(self._path, OPTION):
            return None
        return sum(entry is not None for entry in self)

    def __iter__(self) -> Iterator[str | None]:
        self.skipped = found = number = 0
        with open_lines(self._path, OPTION) as file:
            for line in self._lines(file):
                if line is None:
                    yield None
                    continue
                number += 1
                entry = self._entry(number, line)
                if not entry.strip():
                    self.skipped += 1
                    continue
                found += 1
                if found > ENTRIES_MAX:
                    raise self._wrong(number, f"a batch has at most {ENTRIES_MAX:,} entries")
                yield entry

    def _lines(self, file: BinaryIO) -> Iterator[bytes | None]:
        most = VALUE_BYTES_MAX + 3
        if not is_file(self._path, OPTION):
            return lines_as_they_come(file, most)
        return iter(lambda: file.readline(most), b"")

    def _entry(self, number: int, line: bytes) -> str:
        if number == 1:
            line = line.removeprefix(_BOM)
        blob = line.removesuffix(b"\n").removesuffix(b"\r")
        if len(blob) > VALUE_BYTES_MAX:
            raise self._wrong(
                number,
                f"has more than {VALUE_BYTES_MAX:,} bytes: write them to a file and name that",
            )
        try:
            check_entry(blob)
        except ValueError as error:
            raise self._wrong(number, str(error)) from error
        return blob.decode()

    def _wrong(self, number: int, text: str) -> Invalid:
        return Invalid(f"{self.name}, line {number}: {text}", field=OPTION)


def is_file(path: str, option: str) -> bool:
    """Tell a file, which can be read twice, from a pipe; raises NotFound where nothing is."""
    if path == OURS:
        return False
    try:
        return stat.S_ISREG(Path(path).stat().st_mode)
    except FileNotFoundError as error:
        raise NotFound(f"--{option}: there is no file {path}", field=option) from error


def open_lines(path: str, option: str) -> BinaryIO:
    """Open what an option named, or our standard input; raises NotFound."""
    if path == OURS:
        return open(sys.stdin.fileno(), "rb", closefd=False)
    is_file(path, option)
    return Path(path).open("rb")
