"""How is output handed out: read from the runner's files by offset, sent beside the results?"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from ..protocol.messages import OUTPUT_CHUNK_BYTES, Fetch, Output, Phase
from . import outputs
from .session import Session
from .stage import Stage
from .wire import Wire

WAITING_MAX = 1_000


@dataclass(slots=True)
class Fetching:
    """Answer requests for output, in order, as fast as the connection takes them."""

    stage: Stage
    wire: Wire
    waiting: deque[Fetch] = field(default_factory=lambda: deque(maxlen=WAITING_MAX))

    def on_fetch(self, fetch: Fetch) -> None:
        """Take in a request; at the bound the oldest is dropped, and asked again by its client."""
        if fetch.incarnation != self.stage.state.incarnation:
            self.stage.state.counters.add("other_incarnation")
            return
        self.waiting.append(fetch)

    def answer(self, session: Session) -> None:
        """Send what can be sent."""
        while self.waiting:
            frame = session.frame(self._read(self.waiting[0]))
            if not self.wire.send("output", frame):
                return
            self.waiting.popleft()

    def _read(self, fetch: Fetch) -> Output:
        key = (fetch.task, fetch.attempt)
        attempt = self.stage.core.find(key)
        seat = self.stage.seat_of.get(key)
        directory: Path | None = seat.directory if seat else self.stage.archive.find(key)
        found = Output(
            request=fetch.request,
            task=fetch.task,
            attempt=fetch.attempt,
            stream=fetch.stream,
            offset=fetch.offset,
            data=b"",
            total=0,
            ended=attempt is None or attempt.phase == Phase.ENDED,
        )
        if fetch.stream not in outputs.STREAMS or (attempt is None and directory is None):
            found.error = "not_found"
            return found
        if directory is None:
            return found
        bytes_max = max(0, min(fetch.bytes_max, OUTPUT_CHUNK_BYTES))
        chunk = outputs.read(
            directory, fetch.task, fetch.attempt, fetch.stream, fetch.offset, bytes_max
        )
        found.offset, found.data = chunk.offset, chunk.data
        found.total, found.lost = chunk.total, chunk.cut
        found.ended = found.ended and chunk.offset + len(chunk.data) >= chunk.total
        return found
