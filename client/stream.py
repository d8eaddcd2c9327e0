"""How do many tasks travel? In frames that share one spec, a few on their way at a time."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from ..protocol.errors import RemudaError
from ..protocol.messages import MAP_FRAME_TASKS, SOURCE_BYTES_MAX, Submit
from . import control
from .batch import Batch
from .session import Session
from .task import Task
from .when_full import Patience, settle

FRAMES_OPEN_MAX = 10
ARGS_BYTES_MAX = 4 * 1024 * 1024 - 2 * SOURCE_BYTES_MAX - 512 * 1024


@dataclass(slots=True)
class _Frame:
    message: Submit
    stored: Future[list[Task]]


class Stream:
    """One batch on its way: frames are numbered by the offset of their first member."""

    def __init__(
        self, session: Session, spec: dict[str, Any], patience: Patience, *, allow_infeasible: bool
    ) -> None:
        self._session = session
        self._spec = spec
        self._patience = patience
        self._allow_infeasible = allow_infeasible
        self._batch_key = os.urandom(16)
        self._open: deque[_Frame] = deque()
        self._tasks: list[Task] = []
        self._sent = 0

    def submit(self, args: Iterable[bytes]) -> Batch:
        """Send all, in order. What fails half-way is cancelled as a whole."""
        try:
            for chunk in chunks(args):
                self._send(chunk)
                # The first frame alone: what is refused for its spec leaves nothing behind.
                while len(self._open) > (0 if not self._tasks else FRAMES_OPEN_MAX):
                    self._confirm()
            while self._open:
                self._confirm()
        except BaseException:
            self._take_back()
            raise
        return Batch(self._session, self._tasks[0].batch_key if self._tasks else b"", self._tasks)

    def _send(self, args: list[bytes]) -> None:
        message = Submit(
            submit_key=os.urandom(16),
            session=self._session.key,
            specs=[self._spec],
            spec_index=[0] * len(args),
            args=args,
            batch_key=self._batch_key,
            offset=self._sent,
            allow_infeasible=self._allow_infeasible,
        )
        self._sent += len(args)
        self._open.append(_Frame(message, self._session.submit(message)))

    def _confirm(self) -> None:
        """Wait for the oldest frame, in order."""
        frame = self._open[0]
        self._tasks += settle(self._session, frame.message, frame.stored, self._patience)
        self._open.popleft()

    def _take_back(self) -> None:
        if self._tasks:
            with contextlib.suppress(RemudaError):  # the first error is what the user must see
                control.cancel(self._session.connection, (), [self._tasks[0].batch_key])


def chunks(args: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Cut arguments into frames, by count and by size."""
    chunk: list[bytes] = []
    size = 0
    for arg in args:
        if chunk and (len(chunk) >= MAP_FRAME_TASKS or size + len(arg) > ARGS_BYTES_MAX):
            yield chunk
            chunk, size = [], 0
        chunk.append(arg)
        size += len(arg) + 8
    if chunk:
        yield chunk
