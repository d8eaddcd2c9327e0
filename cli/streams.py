"""How does a task's output reach our own stdout and stderr: bytes as they are, cuts marked."""

from __future__ import annotations

import sys
from collections import deque
from typing import TYPE_CHECKING, BinaryIO

from ..protocol.resources import format_bytes

if TYPE_CHECKING:
    from ..client.output import Piece


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
            sys.stderr.write(f"[{format_bytes(piece.lost)} of std{piece.stream} were not kept]\n")
            sys.stderr.flush()
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
