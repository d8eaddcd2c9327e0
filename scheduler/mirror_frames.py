"""What goes through the pipes between the scheduler and its mirror process: framed small records.

Down go `hello`, `begin`, `tasks`, `complete`, `counts` and `nodes`; up go `report`s. A frame is a
length of 4 bytes and a msgpack array `[kind, ...]`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgpack

FRAME_BYTES_MAX = 256 * 1024
ROWS_PER_FRAME = 500
_LENGTH_BYTES = 4


class BrokenStream(Exception):  # noqa: N818 - the two ends no longer understand each other
    """What came through the pipe is no frame of ours."""


class TaskRow(NamedTuple):
    """Where a task stands, as it goes through the pipe; `ended_ms` is 0 while it has not ended."""

    id: bytes
    state: str
    code: str
    attempt: int
    node: str
    ended_ms: int


class Tasks(NamedTuple):
    """Rows as of a revision; `news` are changes of that turn, others only tell where tasks stand.

    `whole` marks the last frame of a turn: with it everything up to `rev` has been said.
    """

    rev: int
    at_ms: int
    news: bool
    whole: bool
    rows: list[Any]


class Report(NamedTuple):
    """How the mirror process fares; `wants_line` asks to be told everything anew."""

    state: str
    why: str
    line: int
    wants_line: bool
    written: int
    dropped: int


def pack(kind: str, *fields: Any) -> bytes:
    """Write one frame."""
    body: bytes = msgpack.packb((kind, *fields))
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


def pack_tasks(rev: int, at_ms: int, rows: list[TaskRow], *, news: bool) -> Iterator[bytes]:
    """Write rows in frames of a bounded size; at least one, as a revision may have no rows."""
    for start in range(0, max(len(rows), 1), ROWS_PER_FRAME):
        whole = news and start + ROWS_PER_FRAME >= len(rows)
        yield pack("tasks", *Tasks(rev, at_ms, news, whole, rows[start : start + ROWS_PER_FRAME]))


class Unpacker:
    """Takes bytes as they come and gives whole frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> Iterator[list[Any]]:
        """Yield the frames that are whole by now; raises BrokenStream."""
        self._buffer += chunk
        start = 0
        while len(self._buffer) - start >= _LENGTH_BYTES:
            length = int.from_bytes(self._buffer[start : start + _LENGTH_BYTES], "big")
            if length > FRAME_BYTES_MAX:
                raise BrokenStream(f"a frame of {length} bytes")
            end = start + _LENGTH_BYTES + length
            if end > len(self._buffer):
                break
            yield _unpacked(bytes(self._buffer[start + _LENGTH_BYTES : end]))
            start = end
        del self._buffer[:start]


def _unpacked(body: bytes) -> list[Any]:
    try:
        frame = msgpack.unpackb(body)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise BrokenStream("a frame that is not msgpack") from error
    if type(frame) is not list or not frame or type(frame[0]) is not str:
        raise BrokenStream("a frame without a kind")
    return frame
