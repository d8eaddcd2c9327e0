"""Who may read an object, and what proves it? Never its digest alone."""

from __future__ import annotations

from collections.abc import Sequence

from ..protocol import claims
from ..protocol.claims import Claim, Verb
from ..protocol.errors import Invalid, NotAllowed, NotFound
from ..protocol.trees import Entry
from .index import Index
from .keys import Holder
from .rows import Row


class Rights:
    """Judges by the index and by claims; `secret` is shared with the scheduler alone."""

    def __init__(self, index: Index, secret: bytes) -> None:
        self._index = index
        self._secret = secret

    def readable(self, holder: Holder, digest: bytes, claim: bytes, now_ms: int) -> Row:
        """Return an object that this holder may read: as who has put it, or by a claim.

        Raises NotAllowed, also for what is not there, unless a claim shows that it was: then
        NotFound.
        """
        if not claim:
            row = self._index.find(digest)
            if row is None or not self._index.is_owner(row.id, holder.name):
                raise NotAllowed(
                    f"object {digest.hex()[:12]} is not yours, and no claim came with the request"
                )
            return row
        named = self._proven(holder, claim, now_ms)
        row = self._index.find(digest)
        if named.digest != digest and (
            row is None or not self._index.is_member(named.digest, row.id)
        ):
            raise NotAllowed(f"the claim is not for object {digest.hex()[:12]}")
        if row is None:
            raise NotFound(
                f"object {digest.hex()[:12]} is no longer in the store: what has ended is kept "
                "as long as its task ([scheduler] retention_age)"
            )
        return row

    def owned(self, holder: Holder, digest: bytes) -> Row | None:
        """Return an object that this holder has put before."""
        row = self._index.find(digest)
        return row if row and self._index.is_owner(row.id, holder.name) else None

    def members(
        self, holder: Holder, entries: Sequence[Entry], proofs: Sequence[bytes], now_ms: int
    ) -> list[int]:
        """Return the ids of what a tree names; raises unless all is kept and open to its putter."""
        proven = {self._proven(holder, blob, now_ms).digest for blob in proofs}
        found: dict[bytes, int] = {}
        for entry in entries:
            if entry.digest in found:
                continue
            row = self._index.find(entry.digest)
            open_to_holder = row is not None and (
                entry.digest in proven or self._index.is_owner(row.id, holder.name)
            )
            if row is None or not open_to_holder:
                raise NotAllowed(f"{entry.name!r} of the tree is not in the store: put it first")
            if row.size != entry.size:
                raise Invalid(f"{entry.name!r} has {row.size} bytes, the tree says {entry.size}")
            found[entry.digest] = row.id
        return list(found.values())

    def grant(self, holder: Holder, row: Row, expires_ms: int) -> bytes:
        """Write the claim that somebody has an object."""
        return claims.sign(
            self._secret, Verb.HAVE, holder.key, Claim(row.digest, row.size, expires_ms)
        )

    def _proven(self, holder: Holder, blob: bytes, now_ms: int) -> Claim:
        """Check a claim of either verb; raises Invalid or NotAllowed."""
        try:
            return claims.check(self._secret, Verb.READ, holder.key, blob, now_ms)
        except NotAllowed:
            return claims.check(self._secret, Verb.HAVE, holder.key, blob, now_ms)
