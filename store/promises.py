"""How is it made sure that an object is still there for whoever holds a claim of it?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .collection import is_fresh, margin_ms
from .committer import Committer, Keep
from .keys import Holder
from .pool import Outcome
from .rights import Rights
from .rows import Row


class Promises:
    """Claims are given only after what they promise is durable."""

    def __init__(self, committer: Committer, rights: Rights, keep_ms: int) -> None:
        self._committer = committer
        self._rights = rights
        self.keep_ms = keep_ms

    def claim(self, holder: Holder, row: Row) -> bytes:
        """Write the claim of an object for as long as it is kept by now."""
        return self._rights.grant(holder, row, row.keep_until_ms - margin_ms(self.keep_ms))

    def renew(
        self,
        holder: Holder,
        rows: Sequence[Row],
        now_ms: int,
        then: Callable[[dict[bytes, bytes]], None],
    ) -> None:
        """Keep objects anew; call back with the claims by digest.

        What has gone has none, and nothing that needed a new promise when the disk is full.
        """
        stale = {row.id for row in rows if not is_fresh(row.keep_until_ms, now_ms, self.keep_ms)}
        until_ms = now_ms + self.keep_ms
        if not stale:
            then({row.digest: self.claim(holder, row) for row in rows})
            return

        def kept(outcome: Outcome[set[int]]) -> None:
            try:
                found = outcome()
            except OSError:
                found = set()
            then(
                {
                    row.digest: self.claim(
                        holder, row._replace(keep_until_ms=until_ms) if row.id in stale else row
                    )
                    for row in rows
                    if row.id not in stale or row.id in found
                }
            )

        self._committer.keep(Keep(sorted(stale), until_ms), kept)
