"""How do the bytes of an object come to the disk? Turn, credit, write, and on to its landing."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import NamedTuple

from ..config.pacing import Pace
from ..protocol.claims import DIGEST_BYTES
from ..protocol.errors import DiskFull, Invalid, QueueFull, RemudaError
from ..protocol.store_messages import CHUNK_BYTES, PutCredit, PutObject, Stored
from .admission import DISK_RETRY_S
from .backend import Staged
from .credits import Incoming, window_bytes
from .desk import Desk
from .keys import Holder
from .landing import Landing, Whole
from .partials import FLUSH_BYTES, Partials, Upload, open_upload, stage_small
from .pool import Outcome, Pool
from .turns import Turns
from .usage import Ledger
from .wire import Peer

MOVED_S = 2.0


class Stage(Enum):
    """Where an upload is."""

    WAITING = "its turn has not come"
    OPENING = "its partial file is read again"
    RECEIVING = "bytes come"
    FINISHING = "it is made durable"
    OVER = "nobody waits for it"


_IN_TURN = frozenset({Stage.OPENING, Stage.RECEIVING})


class Where(NamedTuple):
    """Who is to be answered, under which number."""

    peer: Peer
    request: int


@dataclass(slots=True, eq=False)
class Put:
    """One upload; `jobs` counts the threads that are at its partial file."""

    where: Where
    holder: Holder
    message: PutObject
    name: str
    incoming: Incoming
    stage: Stage = Stage.WAITING
    upload: Upload | None = None
    chunks: list[memoryview] = field(default_factory=list)
    is_writing: bool = False
    jobs: int = 0
    flushed: int = 0
    heard_s: float = field(default_factory=time.monotonic)
    asked_s: float = field(default_factory=time.monotonic)

    @property
    def is_small(self) -> bool:
        return self.message.size <= CHUNK_BYTES

    @property
    def digest(self) -> bytes:
        """Return the digest that the bytes must have, nothing where they are to tell it."""
        return self.message.digest if len(self.message.digest) == DIGEST_BYTES else b""


class Uploads:
    """Every upload that was admitted; all of it belongs to the loop."""

    def __init__(
        self,
        desk: Desk,
        pool: Pool,
        partials: Partials,
        landing: Landing,
        ledger: Ledger,
        pace: Pace,
    ) -> None:
        self._desk = desk
        self._pool = pool
        self._partials = partials
        self._landing = landing
        self._ledger = ledger
        self._pace = pace
        self.resting: list[Put] = []
        self.turns: Turns[Put] = Turns()
        self.by_where: dict[Where, Put] = {}
        self.by_name: dict[str, Put] = {}
        self.finishing = 0

    def add(self, put: Put, data: memoryview | None) -> None:
        """Admit an upload: with its bytes, or into the line for its turn; raises QueueFull."""
        came_along = data is not None or not put.message.size
        if not came_along:
            self.turns.wait(put.holder.key, put)
        self._ledger.promise(put.holder.name, put.message.size)
        self.by_where[put.where] = put
        self.by_name[put.name] = put
        if came_along:
            put.chunks = [data] if data else []
            self._finish(put)

    def move(self, put: Put, where: Where, message: PutObject) -> None:
        """Go on with an upload for a new connection of its key; chunks of the old one are void.

        If the old one still lives (two programs of one user put the same file), it comes again.
        """
        moved = QueueFull("another connection of this key goes on with it", retry_after_s=MOVED_S)
        self._desk.refuse(put.where.peer, put.where.request, moved)
        del self.by_where[put.where]
        put.where, put.message = where, message
        put.heard_s = time.monotonic()
        self.by_where[where] = put
        if put.stage is Stage.RECEIVING:
            put.chunks.clear()
            if put.is_writing:
                put.stage = Stage.OPENING  # until it is known how much is written
            else:
                self._ask_anew(put)

    def start(self) -> None:
        """Let those begin whose turn has come, and those go on that have rested."""
        while (turn := self.turns.next()) is not None:
            self._open(turn[1])
        if self.resting and not self._pace.rest_s():
            rested, self.resting = self.resting, []
            for put in rested:
                if put.stage is Stage.RECEIVING:
                    self.ask(put)

    def take(self, put: Put, offset: int, data: memoryview | None) -> None:
        """Take the next bytes of an upload."""
        try:
            put.incoming.take(offset, 0 if data is None else len(data))
        except Invalid as error:
            self.fail(put, error)
            return
        assert data is not None, "a chunk has a byte at least"
        put.heard_s = time.monotonic()
        put.chunks.append(data)
        if not put.is_small:
            self._write(put)
        elif put.incoming.received == put.incoming.size:
            self._finish(put)

    def fail(self, put: Put, error: RemudaError) -> None:
        """Say why an upload comes to nothing."""
        if put.stage is not Stage.OVER:
            self._desk.refuse(put.where.peer, put.where.request, error)
            self.end(put)

    def end(self, put: Put) -> None:
        """Forget an upload; what was written of it rests until it is resumed or expires."""
        if put.stage is Stage.WAITING:
            self.turns.leave(put.holder.key, put)
        elif put.stage in _IN_TURN:
            self.turns.end(put.holder.key)
        put.stage = Stage.OVER
        put.chunks.clear()
        del self.by_where[put.where]
        self._ledger.end_promise(put.holder.name, put.message.size, put.incoming.written)
        self._rest(put)

    def _open(self, put: Put) -> None:
        put.stage = Stage.OPENING
        if put.is_small:
            self._ask_anew(put)
            return
        path, digest, size = self._partials.begin(put.name), put.digest, put.message.size

        def opened(outcome: Outcome[Upload]) -> None:
            put.jobs -= 1
            try:
                put.upload = outcome()
            except OSError as error:
                self.fail(put, _disk_trouble(error))
                self._rest(put)
            else:
                self._written(put, put.upload.size)

        put.jobs += 1
        self._pool.submit(lambda: open_upload(path, digest, size), opened)

    def _ask_anew(self, put: Put) -> None:
        """Ask for what comes after the bytes that are written."""
        put.stage = Stage.RECEIVING
        written = put.incoming.written
        put.incoming = Incoming(put.message.size, received=written, written=written, upto=written)
        self.ask(put)

    def ask(self, put: Put, *, again: bool = False) -> None:
        """Say how far bytes may be sent, if that is news; who has gone lets the upload rest.

        Where others want the CPUs it is said later, but for small objects: somebody waits for them.
        """
        if not (again or put.is_small) and self._pace.rest_s():
            if put not in self.resting:
                self.resting.append(put)
            return
        if not put.incoming.extend(window_bytes(self.turns.active.total())) and not again:
            return
        put.asked_s = time.monotonic()
        credit = PutCredit(put.where.request, put.incoming.received, put.incoming.upto)
        if not self._desk.answer(put.where.peer, credit):
            self.end(put)

    def _write(self, put: Put) -> None:
        if put.is_writing or not put.chunks:
            return
        assert put.upload is not None
        upload, chunks = put.upload, put.chunks
        put.chunks = []
        put.is_writing = True

        def written(outcome: Outcome[int]) -> None:
            put.is_writing = False
            put.jobs -= 1
            try:
                size = outcome()
            except OSError as error:
                self.fail(put, _disk_trouble(error))
                self._rest(put)
            else:
                self._written(put, size)

        put.jobs += 1
        self._pool.submit(lambda: upload.append(chunks), written)

    def _written(self, put: Put, size: int) -> None:
        """Go on after bytes came to the disk, or were found there."""
        if put.stage is Stage.OVER:
            self._rest(put)
            return
        self._ledger.write(size - put.incoming.written)
        put.incoming.written = size
        if put.incoming.is_whole:
            self._finish(put)
        elif put.stage is Stage.OPENING:
            self._ask_anew(put)
        else:
            self.ask(put)
            self._write(put)
            self._flush(put)

    def _flush(self, put: Put) -> None:
        """Let the disk begin with what was written, beside the bytes that still come."""
        if put.upload is None or put.incoming.written - put.flushed < FLUSH_BYTES:
            return
        put.flushed = put.incoming.written
        put.jobs += 1

        def flushed(_: Outcome[None]) -> None:  # what could not be written now cannot be at the end
            put.jobs -= 1
            self._rest(put)

        self._pool.submit(put.upload.flush, flushed)

    def _finish(self, put: Put) -> None:
        """Hand over an object whose bytes have all come."""
        if put.stage in _IN_TURN:
            self.turns.end(put.holder.key)
        put.stage = Stage.FINISHING
        put.jobs += 1
        self.finishing += 1
        digest, chunks = put.digest, put.chunks
        if put.upload is not None:
            stage: Callable[[], Staged] = put.upload.finish
        else:
            stage = partial(stage_small, self._partials.small(), digest, chunks)

        def landed(outcome: Outcome[bytes]) -> None:
            put.jobs -= 1
            self.finishing -= 1
            try:
                claim = outcome()
            except OSError as error:
                self.fail(put, _disk_trouble(error))
            except RemudaError as error:
                self.fail(put, error)
            else:
                self._desk.answer(put.where.peer, Stored(put.where.request, claim))
                self.end(put)

        whole = Whole(put.holder, put.message.tree, put.message.claims, stage)
        self._landing.land(whole, landed)

    def _rest(self, put: Put) -> None:
        """Close the file of an upload that is over once no thread is at it any more."""
        if put.stage is not Stage.OVER or put.jobs:
            return
        if put.upload is not None:
            put.upload.close()
            put.upload = None
            self._partials.rest(put.name)
        if self.by_name.get(put.name) is put:
            del self.by_name[put.name]


def _disk_trouble(error: OSError) -> RemudaError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull("the disk of the store is full", retry_after_s=DISK_RETRY_S)
    return RemudaError(f"the store cannot keep it: {error}", retry_after_s=DISK_RETRY_S)
