"""How does one object go to the store?"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..protocol.errors import Conflict, Invalid, RemudaError
from ..protocol.store_messages import (
    INLINE_BYTES_MAX,
    PIECE_BYTES_MAX,
    Checked,
    CheckObjects,
    PutChunk,
    PutCredit,
    PutObject,
    Stored,
)
from .hashing import digest_file
from .link import Heard, Link
from .pipeline import Step, unexpected
from .wants import Source, name_of


class Put:
    """One upload; `on_bytes` hears how many more bytes are there, less when it begins again."""

    def __init__(self, source: Source, on_bytes: Callable[[int], None]) -> None:
        self.source = source
        self.claim = b""
        self._on_bytes = on_bytes
        self._sent = 0
        self._counted = 0
        self._has_credit = False
        self._resumed = False

    def begin(self, link: Link, request: int) -> Step:
        """Send a small one whole, ask for credit for others."""
        self._has_credit = False
        source = self.source
        data = None
        if source.size <= INLINE_BYTES_MAX:
            data = self._read(0, source.size)
        message = PutObject(request, source.digest, source.size, source.tree, list(source.claims))
        link.send(message, data)
        return Step.GOING

    def on_message(self, link: Link, request: int, heard: Heard) -> Step:
        """Send as far as the credit goes, or keep the claim."""
        message = heard.message
        if isinstance(message, Stored):
            self._count(self.source.size)
            self.claim = message.claim
            return Step.DONE
        if not isinstance(message, PutCredit):
            raise unexpected(message)
        if not self._has_credit:
            self._has_credit = True
            self._sent = message.offset
            self._resumed = message.offset > 0
        self._count(message.offset)
        upto = min(message.upto, self.source.size)
        while self._sent < upto:
            blob = self._read(self._sent, min(PIECE_BYTES_MAX, upto - self._sent))
            link.send(PutChunk(request, self._sent), blob)
            self._sent += len(blob)
        return Step.GOING

    def settle(self, _link: Link, _request: int) -> None:
        """Nothing is ever owed."""

    def on_refusal(self, error: RemudaError) -> Step:
        """Begin again where what was resumed was not what we have now.

        A store of the release before knows no file without its digest: then it is read for that.
        """
        content = self.source.content
        if isinstance(error, Invalid) and self.source.is_unread and isinstance(content, Path):
            self.source = replace(self.source, digest=digest_file(content).digest)
            return Step.ANEW
        if isinstance(error, Conflict):
            if self._resumed:
                return Step.ANEW
            raise Conflict(f"{self._named()} changed while it was sent: {error.message}")
        raise error

    def _count(self, done: int) -> None:
        self._on_bytes(done - self._counted)
        self._counted = done

    def _read(self, offset: int, count: int) -> bytes | memoryview:
        content = self.source.content
        if not isinstance(content, Path):
            return memoryview(content).cast("B")[offset : offset + count]
        descriptor = os.open(content, os.O_RDONLY | os.O_CLOEXEC)
        try:
            blob = os.pread(descriptor, count, offset)
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        if len(blob) != count or status.st_size != self.source.size:
            raise Conflict(
                f"{content} changed while it was sent: it has {status.st_size} bytes now"
            )
        if self.source.is_unread and name_of(status) != self.source.digest:
            raise Conflict(f"{content} changed while it was sent: wait until it is written")
        return blob

    def _named(self) -> str:
        content = self.source.content
        return str(content) if isinstance(content, Path) else "the value"


class Check:
    """One question for claims; `claims` are in the order of the digests."""

    def __init__(self, digests: list[bytes], proofs: list[bytes]) -> None:
        self._digests = digests
        self._proofs = proofs
        self.claims: list[bytes] = []

    def begin(self, link: Link, request: int) -> Step:
        link.send(CheckObjects(request, self._digests, self._proofs))
        return Step.GOING

    def on_message(self, _link: Link, _request: int, heard: Heard) -> Step:
        if not isinstance(heard.message, Checked) or len(heard.message.claims) != len(
            self._digests
        ):
            raise unexpected(heard.message)
        self.claims = heard.message.claims
        return Step.DONE

    def settle(self, _link: Link, _request: int) -> None:
        """Nothing is ever owed."""

    def on_refusal(self, error: RemudaError) -> Step:
        raise error
