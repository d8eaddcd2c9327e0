"""Who may put what, and is it to be uploaded at all? The first word of every upload."""

from __future__ import annotations

from collections.abc import Callable

from ..protocol.claims import DIGEST_BYTES, read
from ..protocol.errors import Invalid, NotAllowed, QueueFull, RemudaError
from ..protocol.store_messages import (
    CHUNK_BYTES,
    INLINE_BYTES_MAX,
    NAME_BYTES,
    TREE_BYTES_MAX,
    PutChunk,
    PutObject,
    Stored,
)
from .admission import Limits, check_room, check_size
from .credits import Incoming
from .desk import Desk, idle_limit_s, now_ms
from .keys import Holder
from .partials import Partials
from .promises import Promises
from .rights import Rights
from .rows import Row
from .uploads import Put, Stage, Uploads, Where
from .usage import Ledger
from .wire import Peer

FINISHING_MAX = 1_024
"""Objects that are whole and not durable yet; above it nothing more is heard."""
AGAIN_S = 0.2
PROBE_S = 2.0
"""Silence after which an upload is asked again, which shows whether anybody is there."""


class Puts:
    """Answers uploads.

    One that is begun again, by the same key for the same object, goes on where it was: its
    connection was lost, and this is the next one.
    """

    def __init__(
        self,
        desk: Desk,
        rights: Rights,
        promises: Promises,
        partials: Partials,
        ledger: Ledger,
        limits: Limits,
        uploads: Uploads,
    ) -> None:
        self._desk = desk
        self._rights = rights
        self._promises = promises
        self._partials = partials
        self._ledger = ledger
        self.limits = limits
        self.uploads = uploads

    @property
    def is_full(self) -> bool:
        return self.uploads.finishing >= FINISHING_MAX

    def on_put_object(
        self, peer: Peer, holder: Holder, message: PutObject, data: memoryview | None
    ) -> None:
        """Answer with the claim of what is there already, or let the bytes come."""
        where = Where(peer, message.request)
        try:
            _check(holder, message, data)
            if where in self.uploads.by_where:
                raise Invalid("there is an upload with this number", field="request")
            row = self._open_to(holder, message)
            if row is not None:
                self._promise(where, holder, row)
            else:
                self._begin(where, holder, message, data)
        except RemudaError as error:
            self._desk.refuse(peer, message.request, error)

    def on_put_chunk(self, peer: Peer, message: PutChunk, data: memoryview | None) -> None:
        """Take the next bytes; those of an upload that is over were on the way, and are nothing."""
        put = self.uploads.by_where.get(Where(peer, message.request))
        if put is not None and put.stage is Stage.RECEIVING:
            self.uploads.take(put, message.offset, data)

    def abandon(self, peer: Peer, request: int) -> None:
        """Let an upload rest."""
        put = self.uploads.by_where.get(Where(peer, request))
        if put is not None and put.stage is not Stage.FINISHING:
            self.uploads.end(put)

    def drop_silent(self, now_s: float) -> None:
        """Take the turn from uploads of which nothing comes; they can be resumed."""
        limit_s = idle_limit_s(self.uploads.turns.waiting)
        for put in list(self.uploads.by_where.values()):
            if put.stage is not Stage.RECEIVING or put.jobs:
                continue
            if now_s - max(put.heard_s, put.asked_s) > PROBE_S:
                self.uploads.ask(put, again=True)
            if now_s - put.heard_s > limit_s:
                silent = QueueFull(f"no bytes came for {limit_s:g} s: go on later", retry_after_s=1)
                self.uploads.fail(put, silent)

    def drop_revoked(self, is_live: Callable[[str], bool]) -> None:
        """End the uploads of keys that were withdrawn."""
        for put in list(self.uploads.by_where.values()):
            if not is_live(put.holder.key) and put.stage is not Stage.FINISHING:
                self.uploads.end(put)

    def _open_to(self, holder: Holder, message: PutObject) -> Row | None:
        """Return the object if it is here and this holder may refer to it.

        To others it makes no difference that it is here: they upload all of it.
        """
        row = self._rights.owned(holder, message.digest)
        if row is None:
            proofs = [blob for blob in message.claims if read(blob).digest == message.digest]
            if proofs:
                row = self._rights.readable(holder, message.digest, proofs[0], now_ms())
        return None if row is None or (message.tree and not row.is_tree) else row

    def _promise(self, where: Where, holder: Holder, row: Row) -> None:
        def renewed(claims: dict[bytes, bytes]) -> None:
            if row.digest in claims:
                self._desk.answer(where.peer, Stored(where.request, claims[row.digest]))
            else:
                gone = QueueFull("the object has just been removed", retry_after_s=AGAIN_S)
                self._desk.refuse(where.peer, where.request, gone)

        self._promises.renew(holder, [row], now_ms(), renewed)

    def _begin(
        self, where: Where, holder: Holder, message: PutObject, data: memoryview | None
    ) -> None:
        name = self._partials.name(holder.key, message.digest)
        known = self.uploads.by_name.get(name)
        if known is not None:
            if known.stage is Stage.OVER or known.message.size != message.size:
                raise QueueFull("the last try is still being put aside", retry_after_s=AGAIN_S)
            self.uploads.move(known, where, message)
            return
        check_size(self.limits, message.size)
        usage = self._ledger.usage(holder.name, self._partials.idle_bytes_without(name))
        check_room(self.limits, usage, message.size, is_user=holder.is_user)
        self.uploads.add(Put(where, holder, message, name, Incoming(message.size)), data)


def _check(holder: Holder, message: PutObject, data: memoryview | None) -> None:
    """Raise NotAllowed or Invalid for what cannot be an upload."""
    if not holder.may_put:
        raise NotAllowed(f"the role {holder.role} puts no objects")
    is_named = len(message.digest) == NAME_BYTES and message.size > CHUNK_BYTES
    if not (is_named or len(message.digest) == DIGEST_BYTES) or message.size < 0:
        raise Invalid("an object has a SHA-256 and a size", field="digest")
    if is_named and message.tree:
        raise Invalid("a tree has a SHA-256", field="digest")
    if message.tree and message.size > TREE_BYTES_MAX:
        raise Invalid(f"a tree has at most {TREE_BYTES_MAX} bytes", field="size")
    if data is not None and (len(data) != message.size or message.size > INLINE_BYTES_MAX):
        raise Invalid(
            f"bytes that come along are the whole object, at most {INLINE_BYTES_MAX}: {len(data)} "
            f"came, it has {message.size}",
            field="size",
        )
