"""How is the output of a task read while it runs, over its tries, and to its end?"""

from __future__ import annotations

import codecs
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ..protocol.errors import RemudaError
from ..protocol.messages import Output
from . import control
from .connection import Connection
from .watching import Watching

STREAMS = ("out", "err")
LOOK_AGAIN_S = 0.05
LOOK_AGAIN_S_MAX = 1.0
ROUND_PIECES_MAX = 16
SILENT_ROUNDS_MAX = 40


class Piece(NamedTuple):
    """A piece of output; `lost` bytes before it were cut by a limit. `attempt` 0: not known."""

    stream: str
    data: bytes
    lost: int = 0
    attempt: int = 0


class _Reader:
    """Reads the streams of one attempt; 0 stands for the newest until its number is known."""

    def __init__(self, link: Connection, task: bytes, attempt: int, streams: Sequence[str]) -> None:
        self._link = link
        self._task = task
        self.attempt = attempt
        self._offsets = dict.fromkeys(streams, 0)
        self.open = list(streams)
        self.error = ""

    def skip(self) -> None:
        """Go to the present end of each stream."""
        for stream in self._offsets:
            self._offsets[stream] = self._ask(stream, bytes_max=1).total

    def read(self) -> list[Piece]:
        """Read some of what there is now; nothing when there is no more for the moment."""
        pieces = []
        for stream in list(self.open):
            for _ in range(ROUND_PIECES_MAX):
                answer = self._ask(stream)
                self.attempt = self.attempt or answer.attempt
                self.error = answer.error
                lost = max(0, answer.offset - self._offsets[stream])
                if answer.data or lost:
                    pieces.append(Piece(stream, answer.data, lost, self.attempt))
                self._offsets[stream] = max(self._offsets[stream], answer.offset + len(answer.data))
                if answer.ended and self._offsets[stream] >= answer.total:
                    self.open.remove(stream)
                    break
                if not answer.data:
                    break
        return pieces

    def _ask(self, stream: str, bytes_max: int = control.OUTPUT_BYTES) -> Output:
        return control.read_output(
            self._link,
            self._task,
            stream=stream,
            offset=self._offsets[stream],
            attempt=self.attempt,
            bytes_max=bytes_max,
        )


def read(
    link: Connection, task: bytes, *, streams: Sequence[str] = STREAMS, attempt: int = 0
) -> Iterator[Piece]:
    """Yield what there is now; raises RemudaError when the node that has it cannot be reached."""
    reader = _Reader(link, task, attempt, streams)
    while pieces := reader.read():
        yield from pieces
    if reader.error:
        raise RemudaError(f"output of the task cannot be read: {reader.error}")


def follow(
    link: Connection,
    task: bytes,
    *,
    streams: Sequence[str] = STREAMS,
    attempt: int = 0,
    from_start: bool = True,
) -> Iterator[Piece]:
    """Yield output as it comes, to the end of the task and over its tries, or of one attempt.

    `from_start` False skips what was printed before. Raises RemudaError when the task has ended
    and the node that has the rest cannot be reached.
    """
    watching = Watching(link, [task])
    reader = _Reader(link, task, attempt, streams)
    if not from_start:
        reader.skip()
    pause_s, silent = LOOK_AGAIN_S, 0
    while True:
        standing = watching.known[task]  # before reading, so that an end seen is an end read
        pieces = reader.read()
        yield from pieces
        if pieces:
            pause_s, silent = LOOK_AGAIN_S, 0
            continue
        if not reader.open:
            if attempt or (standing.has_ended and standing.attempt <= reader.attempt):
                return
            if standing.attempt > reader.attempt:
                reader = _Reader(link, task, standing.attempt, streams)
                continue
        if not standing.has_ended:
            watching.poll(pause_s)
            pause_s = min(pause_s * 1.5, LOOK_AGAIN_S_MAX)
            continue
        silent += 1
        if not standing.attempt:
            return  # it never ran
        if silent > SILENT_ROUNDS_MAX:
            raise RemudaError(
                f"the rest of the output cannot be read: {reader.error or 'its node is silent'}"
            )
        time.sleep(LOOK_AGAIN_S)


def as_text(pieces: Iterable[Piece]) -> Iterator[str]:
    """Decode pieces of one stream; a cut is marked with its size."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for piece in pieces:
        if piece.lost:
            yield decoder.decode(b"", final=True) + f"\n[... {piece.lost} bytes cut ...]\n"
            decoder.reset()
        if text := decoder.decode(piece.data):
            yield text
    if rest := decoder.decode(b"", final=True):
        yield rest
