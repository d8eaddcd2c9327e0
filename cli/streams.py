"""How does a task's output reach our own stdout and stderr: bytes as they are, cuts marked."""

from __future__ import annotations

import json
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, BinaryIO

from ..protocol.resources import format_bytes
from . import screen

if TYPE_CHECKING:
    from ..client.output import Piece

LINE_BYTES_MAX = 64 * 1024


class Printer:
    """Write pieces of output through; with `lines_max` keep the last lines until the end."""

    def __init__(self, *, lines_max: int | None = None, err_to_stdout: bool = False) -> None:
        self._lines_max = lines_max
        self._err_to_stdout = err_to_stdout
        self._kept: dict[str, deque[bytes]] = {}
        self._open: dict[str, bytes] = {}

    def write(self, piece: Piece) -> None:
        """Write a piece, or keep it; raises BrokenPipeError when our reader has gone."""
        if piece.lost:
            screen.remark(f"[{_cut(piece)}]")
        if self._lines_max is None:
            self._through(piece.stream, piece.data)
        else:
            self._keep(piece.stream, piece.data)

    def close(self) -> None:
        """Write what was kept."""
        for stream, lines in self._kept.items():
            last = self._open.pop(stream, b"")
            texts = [*lines, last] if last else list(lines)
            shown = texts[-self._lines_max :] if self._lines_max else []
            self._through(stream, b"".join(shown))
        self._kept.clear()

    def _keep(self, stream: str, data: bytes) -> None:
        kept = self._kept.setdefault(stream, deque(maxlen=(self._lines_max or 0) + 1))
        *whole, rest = (self._open.get(stream, b"") + data).split(b"\n")
        kept.extend(line + b"\n" for line in whole)
        self._open[stream] = rest

    def _through(self, stream: str, data: bytes) -> None:
        target = self._target(stream)
        target.write(data)
        target.flush()

    def _target(self, stream: str) -> BinaryIO:
        to_stderr = stream == "err" and not self._err_to_stdout
        return sys.stderr.buffer if to_stderr else sys.stdout.buffer


class JsonLines:
    """Writes each line as a JSON object of its own: stream, attempt, text, and what was cut before.

    With `lines_max` the last lines of each stream are kept until the end. An endless line comes in
    parts.
    """

    def __init__(self, *, lines_max: int | None = None) -> None:
        self._lines_max = lines_max
        self._kept: dict[str, deque[str]] = {}
        self._open: dict[tuple[str, int], bytes] = {}

    def write(self, piece: Piece) -> None:
        """Write the lines that a piece completes; raises BrokenPipeError."""
        key = piece.stream, piece.attempt
        if piece.lost:
            self._line(key, self._open.pop(key, b""), piece.lost)
        *whole, rest = (self._open.pop(key, b"") + piece.data).split(b"\n")
        if len(rest) > LINE_BYTES_MAX:
            whole, rest = [*whole, rest], b""
        if rest:
            self._open[key] = rest
        for line in whole:
            self._line(key, line)
        sys.stdout.flush()

    def close(self) -> None:
        """Write what has no end of line, and what was kept."""
        for key, rest in self._open.items():
            self._line(key, rest)
        self._open.clear()
        for lines in self._kept.values():
            for text in lines:
                screen.line(text)
        self._kept.clear()
        sys.stdout.flush()

    def _line(self, key: tuple[str, int], line: bytes, lost: int = 0) -> None:
        stream, attempt = key
        row = {
            "stream": f"std{stream}",
            "attempt": attempt or None,
            "text": line.decode(errors="replace"),
            "lost_bytes": lost,
        }
        text = json.dumps(row, ensure_ascii=False)
        if self._lines_max is None:
            screen.line(text)
        else:
            self._kept.setdefault(stream, deque(maxlen=self._lines_max)).append(text)


class Prefixed:
    """Writes whole lines of many sources, each line with the name of its source before it.

    `is_broken`: whoever read our output has gone.
    """

    def __init__(self) -> None:
        self.is_broken = False
        self._lock = threading.Lock()
        self._open: dict[tuple[str, str], bytes] = {}

    def write(self, source: str, piece: Piece) -> bool:
        """Write the lines that a piece completes; return whether somebody still reads them.

        An endless line is cut into parts.
        """
        if piece.lost:
            screen.remark(f"{source}: [{_cut(piece)}]")
        *whole, rest = (self._open.pop((source, piece.stream), b"") + piece.data).split(b"\n")
        if len(rest) > LINE_BYTES_MAX:
            whole, rest = [*whole, rest], b""
        if rest:
            self._open[source, piece.stream] = rest
        self._lines(source, piece.stream, whole)
        return not self.is_broken

    def end(self, source: str) -> None:
        """Write what a source left without an end of line."""
        for stream in ("out", "err"):
            if rest := self._open.pop((source, stream), b""):
                self._lines(source, stream, [rest])

    def _lines(self, source: str, stream: str, lines: list[bytes]) -> None:
        if not lines:
            return
        target = sys.stderr if stream == "err" else sys.stdout
        name = f"\x1b[36m{source}:\x1b[0m" if screen.takes_colour(target) else f"{source}:"
        text = b"".join(name.encode() + b" " + line + b"\n" for line in lines)
        with self._lock:
            try:
                target.buffer.write(text)
                target.buffer.flush()
            except BrokenPipeError:
                self.is_broken = True


def _cut(piece: Piece) -> str:
    return f"{format_bytes(piece.lost)} of std{piece.stream} were not kept"
