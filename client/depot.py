"""How does a client bring objects to the store and get them from there, and which may it name?

A claim that the store gave us is kept for as long as it is good, so that what was put once is not
even asked about again.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ..protocol import claims
from ..protocol.errors import NotFound
from ..transfer.wants import Source, Want
from .movers import Movers

if TYPE_CHECKING:
    from .connection import Connection

CLAIMS_KEPT_MAX = 100_000
CLAIM_LEFT_MS_MIN = 30 * 60_000
"""A claim that ends sooner is renewed: a submission may have to wait for room in the queue."""
READ, UP, DOWN = "read", "up", "down"
OnMoved = Callable[[str, int, int], None]
"""Hears of the direction (`up` or `down`; `read`: to find out what is to be moved), the bytes that
are moved, and the bytes in all."""


class Depot:
    """The store, for one client; safe to use from many threads.

    `on_moved` hears of transfers, `on_said` what people may want to know of them.
    """

    def __init__(self, link: Connection) -> None:
        self.on_moved: OnMoved | None = None
        self.on_said: Callable[[str], None] | None = None
        self._movers = Movers(link)
        self._lock = threading.Lock()
        self._claims: OrderedDict[bytes, bytes] = OrderedDict()

    def put(self, sources: Iterable[Source]) -> None:
        """Bring objects to the store, as far as it does not have them of us.

        Raises Unreachable, DiskFull, QueueFull, ValueTooLarge, Conflict for a file that changes.
        """
        missing = [source for source in sources if not self._good_claim(source.digest)]
        if not missing:
            return
        on_progress = self._telling(UP)
        found = self._movers.work(lambda mover: mover.put(missing, on_progress))
        self._keep(zip((source.digest for source in missing), found, strict=True))

    def vouch(self, proofs: Mapping[bytes, bytes]) -> None:
        """Get the right to name objects that we may only read so far, by the claims for that."""
        wanted = [digest for digest in proofs if not self._good_claim(digest)]
        if wanted:
            self._check(wanted, [proofs[digest] for digest in wanted])

    def claims_of(self, digests: Iterable[bytes]) -> bytes:
        """Return claims for objects that were put, as a submission carries them.

        One that ends soon is renewed; raises NotFound for what is gone from the store since.
        """
        wanted = list(digests)
        stale = [digest for digest in wanted if not self._good_claim(digest)]
        if stale:
            self._check(stale, [])
        with self._lock:
            return b"".join(self._claims[digest] for digest in wanted)

    def get(self, wants: Sequence[Want]) -> None:
        """Bring objects into files, each whole and verified when it appears."""
        on_progress = self._telling(DOWN)
        self._movers.work(lambda mover: mover.get(wants, on_progress))

    def get_bytes(self, digest: bytes, claim: bytes, size: int) -> bytes:
        """Return a small object."""
        return self._movers.work(lambda mover: mover.get_bytes(digest, claim, size))

    def has(self, digest: bytes) -> bool:
        """Tell whether we may name an object as it is: then it need not be put."""
        return self._good_claim(digest)

    def say(self, text: str) -> None:
        """Say something about what goes along, if anybody listens."""
        if self.on_said is not None:
            self.on_said(text)

    def telling_read(self) -> Callable[[int, int], None] | None:
        """Return what hears how far files are read whose digests are not known yet."""
        return self._telling(READ)

    def close(self) -> None:
        """Hang up."""
        self._movers.close()

    def _check(self, digests: Sequence[bytes], proofs: Sequence[bytes]) -> None:
        found = self._movers.work(lambda mover: mover.check(digests, proofs))
        for digest, claim in zip(digests, found, strict=True):
            if not claim:
                raise NotFound(
                    f"object {digest.hex()[:12]} is not in the store any more: submit again, "
                    "so that it is sent again"
                )
        self._keep(zip(digests, found, strict=True))

    def _good_claim(self, digest: bytes) -> bool:
        with self._lock:
            claim = self._claims.get(digest)
        return claim is not None and claims.read(claim).expires_ms > _now_ms() + CLAIM_LEFT_MS_MIN

    def _keep(self, found: Iterable[tuple[bytes, bytes]]) -> None:
        with self._lock:
            for digest, claim in found:
                self._claims[digest] = claim
                self._claims.move_to_end(digest)
            while len(self._claims) > CLAIMS_KEPT_MAX:
                self._claims.popitem(last=False)

    def _telling(self, direction: str) -> Callable[[int, int], None] | None:
        tell = self.on_moved
        return None if tell is None else lambda done, total: tell(direction, done, total)


def rights_of(blob: bytes) -> dict[bytes, bytes]:
    """Read the claims that entitle to the objects of a task, by digest."""
    found = (blob[at : at + claims.CLAIM_BYTES] for at in range(0, len(blob), claims.CLAIM_BYTES))
    return {claims.read(claim).digest: claim for claim in found}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
