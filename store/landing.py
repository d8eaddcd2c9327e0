"""What happens between the last byte of an object and its claim? It becomes durable and seen."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..protocol.errors import NotAllowed, RemudaError
from ..protocol.trees import unpack_tree
from .backend import Backend, Staged
from .committer import Add, Added, Committer, Keep
from .desk import now_ms
from .keys import Holder
from .pool import Outcome, Pool
from .promises import Promises
from .rights import Rights
from .rows import Row
from .usage import Ledger


@dataclass(frozen=True, slots=True)
class Whole:
    """An object whose bytes have all come; `stage` verifies them and makes them durable."""

    holder: Holder
    is_tree: bool
    proofs: Sequence[bytes]
    stage: Callable[[], Staged]


class _Landed(NamedTuple):
    staged: Staged
    members: Sequence[int]


class Landing:
    """Verifies, stores and promises; `tree_rights` is asked by threads, one at a time."""

    def __init__(
        self,
        pool: Pool,
        committer: Committer,
        backend: Backend,
        promises: Promises,
        ledger: Ledger,
        tree_rights: Rights,
    ) -> None:
        self._pool = pool
        self._committer = committer
        self._backend = backend
        self._promises = promises
        self._ledger = ledger
        self._tree_rights = tree_rights
        self._lock = threading.Lock()

    def land(self, whole: Whole, then: Callable[[Outcome[bytes]], None]) -> None:
        """Keep an object and call back with its claim; the outcome raises what went wrong."""

        def staged(outcome: Outcome[_Landed]) -> None:
            try:
                landed = outcome()
            except (RemudaError, OSError):
                then(_failed(outcome))
                return
            self._keep_members(whole, landed, then)

        self._pool.submit(lambda: self._stage(whole), staged)

    def _stage(self, whole: Whole) -> _Landed:
        """Do what takes long; in a thread."""
        staged = whole.stage()
        try:
            members: Sequence[int] = ()
            if whole.is_tree:
                entries = unpack_tree(staged.path.read_bytes())
                with self._lock:
                    members = self._tree_rights.members(
                        whole.holder, entries, whole.proofs, now_ms()
                    )
            self._backend.bring(staged)
        except (RemudaError, OSError):
            self._backend.drop(staged)
            raise
        return _Landed(staged, members)

    def _keep_members(
        self, whole: Whole, landed: _Landed, then: Callable[[Outcome[bytes]], None]
    ) -> None:
        """Make sure that what a tree names does not go before the tree is there."""
        if not landed.members:
            self._add(whole, landed, then)
            return

        def kept(outcome: Outcome[set[int]]) -> None:
            try:
                found = outcome()
            except OSError:
                self._backend.drop(landed.staged)
                then(_failed(outcome))
                return
            if len(found) == len(landed.members):
                self._add(whole, landed, then)
                return
            self._backend.drop(landed.staged)
            gone = NotAllowed("a file of the tree has just left the store: put it again")
            then(_failed(lambda: _raise(gone)))

        until_ms = now_ms() + self._promises.keep_ms
        self._committer.keep(Keep(landed.members, until_ms), kept)

    def _add(self, whole: Whole, landed: _Landed, then: Callable[[Outcome[bytes]], None]) -> None:
        staged, name = landed.staged, whole.holder.name
        at_ms = now_ms()

        def added(outcome: Outcome[Added]) -> None:
            try:
                found = outcome()
            except OSError:
                then(_failed(outcome))
                return
            self._ledger.add(
                name,
                staged.size,
                is_new=found.is_new,
                is_new_to_owner=found.is_new_to_owner,
            )
            row = Row(0, staged.digest, staged.size, whole.is_tree, found.keep_until_ms)
            then(lambda: self._promises.claim(whole.holder, row))

        self._committer.add(
            Add(
                staged,
                name,
                whole.is_tree,
                keep_until_ms=at_ms + self._promises.keep_ms,
                now_ms=at_ms,
                members=landed.members,
            ),
            added,
        )


def _raise(error: RemudaError) -> bytes:
    raise error


def _failed(outcome: Callable[[], object]) -> Outcome[bytes]:
    """Hand an error on as the outcome of something else."""

    def failed() -> bytes:
        outcome()
        raise AssertionError("an outcome that failed does so again")

    return failed
