"""How do many tasks travel? As one batch in frames, some of them under way at a time."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from ..protocol import ids
from ..protocol.claims import CLAIM_BYTES
from ..protocol.codec import pack_document
from ..protocol.errors import RemudaError
from ..protocol.messages import BATCH_MAX, SOURCE_BYTES_MAX, Submit, Submitted
from . import control
from .connection import Connection
from .numbers import NONE, Numbers, column
from .session import Session
from .shipment import Shipment, name_objects, objects_of, renew_claims
from .task import Task
from .when_full import Patience, settle

ARGS_BYTES_MAX = 4 * 1024 * 1024 - 2 * SOURCE_BYTES_MAX - 512 * 1024
ROW_BYTES = 8
NUMBER_BYTES = 64
"""Room for a name and its number: names in an expression are short."""
Stored = TypeVar("Stored")
Spec = dict[str, Any]


class Row(NamedTuple):
    """What one task is: a spec, which many may share, and its own `shipment.Call`."""

    spec: Spec
    args: bytes
    digests: Sequence[bytes] = ()
    numbers: Numbers = NONE


class Carrier(Protocol[Stored]):
    """Who brings frames to the scheduler, and keeps what was stored of them."""

    @property
    def session(self) -> bytes:
        """Return the watching session that is to hear of the tasks; empty: none."""

    @property
    def batch(self) -> bytes:
        """Return the batch, once a frame of it was stored."""

    def send(self, message: Submit) -> Future[Stored]:
        """Send a frame."""

    def take(self, stored: Stored) -> None:
        """Take in what became of the oldest frame."""


class Watched:
    """Makes a future of every task."""

    def __init__(self, session: Session) -> None:
        self.send = session.submit
        self.session = session.key
        self.tasks: list[Task] = []

    @property
    def batch(self) -> bytes:
        return self.tasks[0].batch_key if self.tasks else b""

    def take(self, stored: list[Task]) -> None:
        self.tasks += stored


class Unwatched:
    """Only counts: a million tasks take no room here. `on_count` hears of each frame."""

    session = b""

    def __init__(self, link: Connection, on_count: Callable[[int], None] | None = None) -> None:
        self._link = link
        self._on_count = on_count
        self.batch = b""
        self.count = 0

    @property
    def id(self) -> str:
        """Return the id of the batch; empty when nothing was submitted."""
        return ids.format_id(ids.from_bytes(self.batch)) if self.batch else ""

    def send(self, message: Submit) -> Future[Submitted]:
        return self._link.ask(message, Submitted)

    def take(self, stored: Submitted) -> None:
        self.batch = stored.batch
        self.count += stored.count
        if self._on_count is not None:
            self._on_count(self.count)


@dataclass(slots=True)
class Chunk:
    """The tasks of one frame; each spec is there once."""

    specs: list[Spec] = field(default_factory=list)
    spec_index: list[int] = field(default_factory=list)
    args: list[bytes] = field(default_factory=list)
    digests: list[Sequence[bytes]] = field(default_factory=list)
    numbers: list[Numbers] = field(default_factory=list)


class Stream(Generic[Stored]):
    """One batch on its way: frames are numbered by the offset of their first member.

    Without `frame_tasks` they are as large as the configuration says.
    """

    def __init__(
        self,
        carrier: Carrier[Stored],
        link: Connection,
        patience: Patience,
        *,
        closed: threading.Event | None = None,
        allow_infeasible: bool = False,
        frame_tasks: int = 0,
        shipment: Shipment | None = None,
    ) -> None:
        self._carrier = carrier
        self._link = link
        self._patience = patience
        self._closed = closed or threading.Event()
        self._allow_infeasible = allow_infeasible
        self._frame_tasks = frame_tasks or link.table.map_frame_tasks
        self._frames_open_max = max(1, link.table.map_window_tasks // self._frame_tasks)
        self._shipment = shipment or Shipment(link.depot)
        self._batch_key = os.urandom(16)
        self._open: deque[tuple[Submit, Future[Stored]]] = deque()
        self._sent = 0

    def submit(self, rows: Iterable[Row | None]) -> None:
        """Send all, in order; None: without waiting for more. What fails half-way is cancelled."""
        try:
            for chunk in chunks(rows, self._frame_tasks, lambda: self._shipment.is_full):
                self._shipment.send()
                self._send(chunk)
                # The first frame alone: what is refused for its spec leaves nothing behind.
                while len(self._open) > (self._frames_open_max if self._carrier.batch else 0):
                    self._confirm()
            while self._open:
                self._confirm()
        except BaseException:
            self._take_back()
            raise

    def _send(self, chunk: Chunk) -> None:
        message = Submit(
            submit_key=os.urandom(16),
            session=self._carrier.session,
            specs=chunk.specs,
            spec_index=chunk.spec_index,
            args=chunk.args,
            batch_key=self._batch_key,
            offset=self._sent,
            allow_infeasible=self._allow_infeasible,
            numbers=column(chunk.numbers),
        )
        name_objects(message, self._link.depot, chunk.digests)
        self._sent += len(chunk.args)
        self._open.append((message, self._carrier.send(message)))

    def _confirm(self) -> None:
        """Wait for the oldest frame, in order."""
        message, stored = self._open[0]
        patience = self._patience
        self._carrier.take(settle(self._send_again, message, stored, patience, self._closed))
        self._open.popleft()

    def _send_again(self, message: Submit) -> Future[Stored]:
        renew_claims(message, self._link.depot)
        return self._carrier.send(message)

    def _take_back(self) -> None:
        if self._carrier.batch:
            with contextlib.suppress(RemudaError):  # the first error is what the user must see
                control.cancel(self._link, (), [self._carrier.batch])


def chunks(
    rows: Iterable[Row | None],
    tasks_max: int = BATCH_MAX,
    is_full: Callable[[], bool] = lambda: False,
) -> Iterator[Chunk]:
    """Cut tasks into frames: by count and size, at None, and where enough waits for the store."""
    chunk, size = Chunk(), 0
    known: dict[int, int] = {}
    for row in rows:
        if row is None:
            if chunk.args:
                yield chunk
                chunk, size, known = Chunk(), 0, {}
            continue
        spec, args, digests, numbers = row
        weighs = CLAIM_BYTES * len(digests) + NUMBER_BYTES * len(numbers)
        added = len(args) + ROW_BYTES + weighs
        if id(spec) not in known:
            added += len(pack_document(spec)) + CLAIM_BYTES * len(objects_of(spec))
        is_over = len(chunk.args) >= tasks_max or size + added > ARGS_BYTES_MAX
        if chunk.args and (is_over or is_full()):
            yield chunk
            chunk, size, known = Chunk(), 0, {}
        if id(spec) not in known:
            known[id(spec)] = len(chunk.specs)
            chunk.specs.append(spec)
        chunk.spec_index.append(known[id(spec)])
        chunk.args.append(args)
        chunk.digests.append(digests)
        chunk.numbers.append(numbers)
        size += added
    if chunk.args:
        yield chunk
