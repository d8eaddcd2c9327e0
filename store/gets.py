"""How does an object go out? Chunk by chunk, as far as its reader asks for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from ..config.pacing import Pace
from ..protocol.claims import DIGEST_BYTES
from ..protocol.errors import Invalid, NotFound, QueueFull, RemudaError
from ..protocol.store_messages import (
    CHUNK_BYTES,
    PIECE_BYTES_MAX,
    GetChunk,
    GetCredit,
    GetObject,
)
from .backend import Backend, Reader
from .credits import Outgoing, window_bytes
from .desk import Desk, idle_limit_s, now_ms
from .keys import Holder
from .pool import Outcome, Pool
from .rights import Rights
from .rows import Row
from .turns import Turns
from .wire import Peer


class Stage(Enum):
    """Where a reading is."""

    WAITING = "its turn has not come"
    SENDING = "bytes go"
    OVER = "nobody waits for it"


class Where(NamedTuple):
    """Who is to be answered, under which number."""

    peer: Peer
    request: int


@dataclass(slots=True, eq=False)
class Get:
    """One reading; only one thread at a time is at its file."""

    where: Where
    holder: Holder
    row: Row
    outgoing: Outgoing
    stage: Stage = Stage.WAITING
    reader: Reader | None = None
    is_reading: bool = False
    heard_s: float = field(default_factory=time.monotonic)


class Gets:
    """Every reading that was begun; all of it belongs to the loop."""

    def __init__(
        self, desk: Desk, pool: Pool, rights: Rights, backend: Backend, pace: Pace
    ) -> None:
        self._desk = desk
        self._pool = pool
        self._rights = rights
        self._backend = backend
        self._pace = pace
        self.resting: list[Get] = []
        self.turns: Turns[Get] = Turns()
        self._gets: dict[Where, Get] = {}

    def on_get_object(self, peer: Peer, holder: Holder, message: GetObject) -> None:
        """Let a reading wait for its turn, if it is allowed."""
        where = Where(peer, message.request)
        try:
            if len(message.digest) != DIGEST_BYTES or where in self._gets:
                raise Invalid("a reading has a SHA-256 and a number of its own", field="digest")
            row = self._rights.readable(holder, message.digest, message.claim, now_ms())
            outgoing = Outgoing.begin(row.size, message.offset, message.upto)
            get = Get(where, holder, row, outgoing)
            self.turns.wait(holder.key, get)
            self._gets[where] = get
        except RemudaError as error:
            self._desk.refuse(peer, message.request, error)

    def on_get_credit(self, peer: Peer, message: GetCredit) -> None:
        """Send on; the credit for the last byte ends it."""
        get = self._gets.get(Where(peer, message.request))
        if get is None:
            return
        try:
            get.outgoing.credit(message.upto)
        except Invalid as error:
            self._fail(get, error)
            return
        get.heard_s = time.monotonic()
        if get.outgoing.is_over:
            self._end(get)
        else:
            self._read(get)

    def abandon(self, peer: Peer, request: int) -> None:
        """End a reading."""
        get = self._gets.get(Where(peer, request))
        if get is not None:
            self._end(get)

    def start(self) -> None:
        """Let those begin whose turn has come, and those go on that have rested."""
        if self.resting and not self._pace.rest_s():
            rested, self.resting = self.resting, []
            for get in rested:
                self._read(get)
        while (turn := self.turns.next()) is not None:
            get = turn[1]
            get.stage = Stage.SENDING
            get.heard_s = time.monotonic()
            self._read(get)

    def drop_silent(self, now_s: float) -> None:
        """Take the turn from readings that nobody reads; they can be begun again."""
        limit_s = idle_limit_s(self.turns.waiting)
        for get in list(self._gets.values()):
            silent = get.stage is Stage.SENDING and not get.is_reading
            if silent and now_s - get.heard_s > limit_s:
                why = f"nothing was read for {limit_s:g} s: go on later"
                error = QueueFull(why, retry_after_s=1)
                self._fail(get, error)

    def drop_revoked(self, is_live: Callable[[str], bool]) -> None:
        """End the readings of keys that were withdrawn."""
        for get in list(self._gets.values()):
            if not is_live(get.holder.key):
                self._end(get)

    def _read(self, get: Get) -> None:
        """Read as much as may be sent, whole chunks but for the last.

        Where others want the CPUs that is done later, but for small objects.
        """
        if get.is_reading or get.stage is not Stage.SENDING:
            return
        out = get.outgoing
        if out.size > CHUNK_BYTES and self._pace.rest_s():
            if get not in self.resting:
                self.resting.append(get)
            return
        count = out.sendable(window_bytes(self.turns.active.total()))
        if out.sent + count < out.size:
            count -= count % CHUNK_BYTES
            if not count:
                return
        elif not count and get.reader is not None:
            return  # all is sent
        first, row, reader = out.sent, get.row, get.reader
        get.is_reading = True

        def work() -> tuple[Reader, list[bytes]]:
            source = reader or self._backend.open(row.digest, row.size)
            try:
                return source, _pieces(source, first, count)
            except OSError:
                source.close()
                raise

        self._pool.submit(work, lambda outcome: self._on_read(get, outcome))

    def _on_read(self, get: Get, outcome: Outcome[tuple[Reader, list[bytes]]]) -> None:
        get.is_reading = False
        try:
            get.reader, pieces = outcome()
        except OSError as error:
            get.reader = None
            self._fail(get, _trouble(get.row, error))
            return
        if get.stage is Stage.OVER:
            get.reader.close()
            return
        out = get.outgoing
        for blob in pieces:
            chunk = GetChunk(get.where.request, out.sent, out.size, get.row.is_tree)
            if not self._desk.answer(get.where.peer, chunk, blob):
                self._end(get)
                return
            out.sent += len(blob)
        if out.is_over:
            self._end(get)
        else:
            self._read(get)

    def _fail(self, get: Get, error: RemudaError) -> None:
        if get.stage is not Stage.OVER:
            self._desk.refuse(get.where.peer, get.where.request, error)
            self._end(get)

    def _end(self, get: Get) -> None:
        if get.stage is Stage.WAITING:
            self.turns.leave(get.holder.key, get)
        else:
            self.turns.end(get.holder.key)
        get.stage = Stage.OVER
        del self._gets[get.where]
        if get.reader is not None and not get.is_reading:
            get.reader.close()


def _pieces(reader: Reader, offset: int, count: int) -> list[bytes]:
    """Read so many bytes in pieces; where there are none to read, one that is empty."""
    ends = offset + count
    blobs = [
        reader.read(at, min(PIECE_BYTES_MAX, ends - at))
        for at in range(offset, ends, PIECE_BYTES_MAX)
    ]
    return blobs or [b""]


def _trouble(row: Row, error: OSError) -> RemudaError:
    if isinstance(error, FileNotFoundError):
        return NotFound(f"object {row.digest.hex()[:12]} is no longer in the store")
    return RemudaError(f"object {row.digest.hex()[:12]} cannot be read: {error}")
