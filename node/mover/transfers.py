"""How do objects come and go: into the cache, each fetched once, and from here to the store?"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ...config.keys import KeyPair
from ...protocol import claims
from ...protocol.errors import NotFound, Unreachable
from ...transfer import Mover, Source, Want
from .cache import Cache
from .words import Reach

WAIT_S = 0.5
NOWHERE = Reach("", 0, "")


class GivenUp(Exception):  # noqa: N818 - an outcome
    """Nobody waits for this any more."""


@dataclass(slots=True)
class Job:
    """One thing under way: for whom, and whether it is still wanted; `report` tells how far."""

    name: str
    report: Callable[[str, int, int], None]
    given_up: threading.Event = field(default_factory=threading.Event)

    def on_progress(self, done: int, total: int) -> None:
        """Take in how many bytes were moved so far; raises GivenUp."""
        self.check()
        self.report(self.name, done, total)

    def check(self) -> None:
        """Raise GivenUp when nobody waits any more."""
        if self.given_up.is_set():
            raise GivenUp(self.name)


@dataclass(slots=True)
class Place:
    """Where the store is, as the agent was told last; `known` is set while there is one."""

    key: KeyPair
    patience_s: float
    reach: Reach = NOWHERE
    known: threading.Event = field(default_factory=threading.Event)

    def move(self, reach: Reach) -> None:
        """Take in where the store is now."""
        self.reach = reach
        if reach.port:
            self.known.set()
        else:
            self.known.clear()


class Transfers:
    """One way to the store, for one thread; it is opened when it is first needed.

    `waits_since_s` says since when it is being used, 0 when it is not; any thread may read it.
    """

    def __init__(self, cache: Cache, place: Place) -> None:
        self._cache = cache
        self._place = place
        self._mover: Mover | None = None
        self._reach: Reach | None = None
        self.waits_since_s = 0.0

    @property
    def heard_s(self) -> float:
        """Return when the store said something last, 0 when it did not; any thread may ask."""
        mover = self._mover
        return mover.answered_s if mover is not None else 0.0

    def obtain(self, job: Job, rights: dict[bytes, bytes], sizes: dict[bytes, int]) -> None:
        """Have objects in the cache, whole, for as long as the attempt needs them.

        `rights` has a claim for each, or that of a tree that names it. Raises RemudaError, OSError
        and GivenUp.
        """
        cache = self._cache
        cache.pin(job.name, sizes)
        left = dict(sizes)
        while left:
            job.check()
            mine, others = cache.claim(left)
            if mine:
                try:
                    self._fetch(job, mine, rights, sizes)
                finally:
                    cache.settle(mine)
            if others:
                cache.wait(others, WAIT_S)
            left = {digest: sizes[digest] for digest in others}

    def store(self, job: Job, sources: list[Source]) -> list[bytes]:
        """Put objects into the store; return the claims, in order."""
        with self._at_store(job) as mover:
            return mover.put(sources, job.on_progress)

    def close(self) -> None:
        """Hang up."""
        mover, self._mover = self._mover, None
        if mover is not None:
            mover.close()

    def _fetch(
        self, job: Job, digests: list[bytes], rights: dict[bytes, bytes], sizes: dict[bytes, int]
    ) -> None:
        self._cache.make_room(sum(sizes[digest] for digest in digests))
        for digest in digests:
            if digest not in rights:
                raise NotFound(f"object {digest.hex()[:12]}: nothing entitles this node to it")
            self._cache.path(digest).parent.mkdir(mode=0o700, exist_ok=True)
        wants = [
            Want(digest, rights[digest], sizes[digest], self._cache.path(digest))
            for digest in digests
        ]
        with self._at_store(job) as mover:
            mover.get(wants, job.on_progress)
        for digest in digests:
            self._cache.admit(digest)

    @contextmanager
    def _at_store(self, job: Job) -> Iterator[Mover]:
        self.waits_since_s = time.monotonic()
        try:
            yield self._open(job)
        finally:
            self.waits_since_s = 0.0

    def _open(self, job: Job) -> Mover:
        """Return a mover that speaks to where the store is now."""
        place = self._place
        if not _wait(place.known, job, place.patience_s):
            raise Unreachable("the scheduler of this node knows no store")
        if self._mover is None or self._reach != place.reach:
            self.close()
            self._reach = reach = place.reach
            host = f"[{reach.host}]" if ":" in reach.host else reach.host
            address = f"tcp://{host}:{reach.port}"
            self._mover = Mover(
                address, place.key, reach.server_public, patience_s=place.patience_s
            )
        return self._mover


def rights_of(blob: bytes) -> tuple[dict[bytes, bytes], dict[bytes, int]]:
    """Read claims: return each by its digest, and the sizes that they state."""
    found = claims.split(blob, most=len(blob) // claims.CLAIM_BYTES)
    read = [claims.read(each) for each in found]
    rights = {claim.digest: each for claim, each in zip(read, found, strict=True)}
    return rights, {claim.digest: claim.size for claim in read}


def join(found: Iterable[bytes]) -> bytes:
    """Write claims one after the other, each once."""
    return b"".join(dict.fromkeys(found))


def _wait(event: threading.Event, job: Job, patience_s: float) -> bool:
    for _ in range(max(1, int(patience_s / WAIT_S))):
        if event.wait(WAIT_S):
            return True
        job.check()
    return False
