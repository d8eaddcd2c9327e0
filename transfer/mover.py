"""How do objects move between this process and the store? One blocking call for each way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..config.keys import KeyPair
from ..protocol.errors import RemudaError
from ..protocol.store_messages import CHECK_MAX, AskStore, StoreState
from .getting import FileSink, Get, MemorySink
from .link import Heard, Link
from .pipeline import Pipeline, Step, unexpected
from .putting import Check, Put
from .wants import Progress, Source, Want

PATIENCE_S = 30.0


class Mover:
    """One connection to the store, for one thread; it dials again and resumes by itself.

    Errors: Unreachable when there was no connection for `patience_s`, QueueFull and DiskFull when
    the store has no room, NotFound, NotAllowed, ValueTooLarge, and Conflict for a file that
    changed meanwhile. After an error the same Mover can be used again.
    """

    def __init__(
        self, address: str, key: KeyPair, server_public: str, patience_s: float = PATIENCE_S
    ) -> None:
        self._link = Link(address, key, server_public)
        self._pipeline = Pipeline(self._link, patience_s)

    def check(self, digests: Sequence[bytes], claims: Sequence[bytes] = ()) -> list[bytes]:
        """Return a claim for each object that is there and open to us, nothing for the others.

        `claims` are proofs, one for each digest; none where it is our own.
        """
        proofs = list(claims) or [b""] * len(digests)
        checks = [
            Check(list(digests[at : at + CHECK_MAX]), proofs[at : at + CHECK_MAX])
            for at in range(0, len(digests), CHECK_MAX)
        ]
        self._pipeline.run(checks)
        return [claim for check in checks for claim in check.claims]

    def put(self, sources: Iterable[Source], on_progress: Progress | None = None) -> list[bytes]:
        """Put what the store does not have of ours; return a claim for each source, in order.

        Trees come after their members.
        """
        wanted = list(sources)
        by_digest = {source.digest: source for source in wanted}
        distinct = list(by_digest.values())
        tally = _Tally(sum(source.size for source in distinct), on_progress)
        claims = dict(zip(by_digest, self._check_own(distinct), strict=True))
        tally.add(sum(source.size for source in distinct if claims[source.digest]))
        missing = [source for source in distinct if not claims[source.digest]]
        for trees in (False, True):
            puts = {
                source.digest: Put(source, tally.add) for source in missing if source.tree is trees
            }
            self._pipeline.run(puts.values())
            claims.update((name, put.claim) for name, put in puts.items())
        return [claims[source.digest] for source in wanted]

    def get(self, wants: Iterable[Want], on_progress: Progress | None = None) -> None:
        """Bring objects into files; each appears, whole and verified, when it is there."""
        wanted = list(wants)
        tally = _Tally(sum(want.size for want in wanted), on_progress)
        gets: list[Get] = []

        def begun() -> Iterator[Get]:
            for want in wanted:
                sink = FileSink(want.path, want.digest)
                gets.append(Get(want.digest, want.claim, want.size, sink, tally.add))
                yield gets[-1]

        try:
            self._pipeline.run(begun())
        finally:
            for each in gets:
                each.close()

    def get_bytes(self, digest: bytes, claim: bytes, size: int) -> bytes:
        """Return an object as bytes."""
        sink = MemorySink()
        self._pipeline.run([Get(digest, claim, size, sink, lambda _: None)])
        return bytes(sink.blob)

    def state(self) -> dict[str, Any]:
        """Return how full the store is and what it does."""
        asking = _Ask()
        self._pipeline.run([asking])
        return asking.body

    @property
    def answered_s(self) -> float:
        """Return when the store said something last, by the monotonic clock; 0: never yet."""
        return self._pipeline.answered_s

    def close(self) -> None:
        """Hang up; safe to call twice."""
        self._link.close()

    def __enter__(self) -> Mover:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_own(self, sources: Sequence[Source]) -> list[bytes]:
        """Return claims of what need not be put; a tree is always named by a put of its own."""
        asked = [source for source in sources if not (source.tree or source.is_unread)]
        claims = self.check([each.digest for each in asked], [_proof(each) for each in asked])
        known = dict(zip((each.digest for each in asked), claims, strict=True))
        return [known.get(source.digest, b"") for source in sources]


class _Ask:
    """The question how the store is."""

    def __init__(self) -> None:
        self.body: dict[str, Any] = {}

    def begin(self, link: Link, request: int) -> Step:
        link.send(AskStore(request))
        return Step.GOING

    def on_message(self, _link: Link, _request: int, heard: Heard) -> Step:
        if not isinstance(heard.message, StoreState):
            raise unexpected(heard.message)
        self.body = heard.message.body
        return Step.DONE

    def settle(self, _link: Link, _request: int) -> None:
        """Nothing is ever owed."""

    def on_refusal(self, error: RemudaError) -> Step:
        raise error


class _Tally:
    """Adds up what is done, and tells of it."""

    def __init__(self, total: int, on_progress: Progress | None) -> None:
        self._total = total
        self._done = 0
        self._on_progress = on_progress

    def add(self, count: int) -> None:
        self._done += count
        if count and self._on_progress is not None:
            self._on_progress(self._done, self._total)


def _proof(source: Source) -> bytes:
    """Return the claim that a source has of itself, if it has one."""
    return next((claim for claim in source.claims if claim[:32] == source.digest), b"")
