"""How answers reach the agent: in a file first, then said, and said again at each attach."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path

from ...worker import batches, frames
from ...worker.frames import SINCE, Finished, Message
from .answers import Answers
from .connection import Connection

ASKED_SINCE = 2
"""Up to here what is said was asked for, by an agent that knows the answer."""


class Outbox:
    """Everything the runner says. Results wait on disk while the agent is slow or away.

    `agent_protocol` is what the agent said that it speaks; it is not told what it does not know.
    """

    def __init__(self, directory: Path) -> None:
        self.answers = Answers(directory)
        self.agent_protocol = 1
        self._connection: Connection | None = None
        self._unsent: deque[int] = deque()

    @property
    def is_heard(self) -> bool:
        """Say whether an agent is attached."""
        return self._connection is not None and self._connection.open

    def attach(self, connection: Connection, hello: Message, fds: Sequence[int]) -> None:
        """Turn to a new connection: the snapshot first, then every unacknowledged answer."""
        self.agent_protocol = 1
        self._connection = connection
        self.say(hello, fds)
        for message in self.answers.finished.values():
            self.say(message)
        self._unsent = deque(self.answers.spool.waiting())
        self.pump()

    def say(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send to the agent, if one is attached."""
        is_known = SINCE.get(type(message), 1) <= max(self.agent_protocol, ASKED_SINCE)
        if self._connection is not None and is_known:
            self._connection.send(frames.encode(message), fds)

    def finish(self, message: Finished) -> None:
        """Answer a command."""
        self.answers.finish(message)
        self.say(message)

    def results(self, body: bytes, keys: list[bytes]) -> None:
        """Answer calls."""
        record = self.answers.results(body, keys)
        connection = self._connection
        if connection is None or not connection.open:
            return
        if self._unsent or not connection.has_room:
            self._unsent.append(record)
            return
        connection.send(frames.raw_frame(frames.RESULTS, batches.with_record(body, record)))

    def repeat(self, record: int) -> None:
        """Send a waiting record again."""
        if record not in self._unsent:
            self._unsent.append(record)
        self.pump()

    def pump(self) -> None:
        """Send waiting results while the agent keeps up."""
        connection = self._connection
        while self._unsent and connection is not None and connection.has_room:
            body = self.answers.spool.read(self._unsent.popleft())
            if body is not None:
                connection.send(frames.raw_frame(frames.RESULTS, body))
