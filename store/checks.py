"""Which objects need not be put again? Many are asked about at once, before anything moves."""

from __future__ import annotations

from ..protocol.claims import DIGEST_BYTES
from ..protocol.errors import Invalid, NotAllowed, NotFound, RemudaError
from ..protocol.store_messages import CHECK_MAX, Checked, CheckObjects
from .desk import Desk, now_ms
from .keys import Holder
from .promises import Promises
from .rights import Rights
from .rows import Row
from .wire import Peer


class Checks:
    """Answers CheckObjects: a claim for what is here and open to the asker, else nothing."""

    def __init__(self, desk: Desk, rights: Rights, promises: Promises) -> None:
        self._desk = desk
        self._rights = rights
        self._promises = promises

    def on_check_objects(self, peer: Peer, holder: Holder, message: CheckObjects) -> None:
        """Answer with claims in the order of the question."""
        try:
            if len(message.digests) > CHECK_MAX:
                raise Invalid(f"at most {CHECK_MAX} objects are checked at once", field="digests")
            if any(len(digest) != DIGEST_BYTES for digest in message.digests):
                raise Invalid("a digest has 32 bytes", field="digests")
        except RemudaError as error:
            self._desk.refuse(peer, message.request, error)
            return
        pairs = zip(message.digests, message.claims, strict=True)
        found = [self._open_to(holder, digest, claim) for digest, claim in pairs]
        rows = {row.digest: row for row in found if row is not None}

        def renewed(claims: dict[bytes, bytes]) -> None:
            answer = [claims.get(digest, b"") for digest in message.digests]
            self._desk.answer(peer, Checked(message.request, answer))

        self._promises.renew(holder, list(rows.values()), now_ms(), renewed)

    def _open_to(self, holder: Holder, digest: bytes, claim: bytes) -> Row | None:
        try:
            return self._rights.readable(holder, digest, claim, now_ms())
        except (Invalid, NotAllowed, NotFound):
            return None if not claim else self._rights.owned(holder, digest)
