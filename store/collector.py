"""When do objects go? What no claim keeps is asked about, and removed if no task refers to it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ..protocol.errors import RemudaError
from ..protocol.message import REFERENCES_MAX
from .asking import Asking
from .collection import plan, recheck_ms
from .committer import Committer, Keep, Remove, Removed
from .desk import Log, now_ms
from .index import Index
from .partials import Partials
from .pool import Outcome
from .rows import Row
from .usage import Ledger
from .wire import Wire

RETRY_S = 10.0


@dataclass(frozen=True, slots=True)
class Times:
    """How often to look, how long an object is kept for a task to come, and what broke off."""

    every_s: float
    keep_ms: int
    partial_keep_s: float


class Collector:
    """One slice at a time: look, ask, remove; again at once while there is more.

    An object is removed only if its promise is still the one that had ended when the scheduler
    was asked: whoever got a claim of it in between has saved it.
    """

    def __init__(
        self,
        wire: Wire,
        asking: Asking,
        index: Index,
        committer: Committer,
        ledger: Ledger,
        partials: Partials,
        log: Log,
        times: Times,
    ) -> None:
        self._wire = wire
        self._asking = asking
        self._index = index
        self._committer = committer
        self._ledger = ledger
        self._partials = partials
        self._log = log
        self._times = times
        self._due: list[Row] = []
        self._is_busy = False
        self._next_s = 0.0
        self.last_ms = 0
        self.removed = 0
        self.problem = ""

    def go_by(self, times: Times) -> None:
        """Take new times: the next look is no later than they say."""
        self._times = times
        self._next_s = min(self._next_s, time.monotonic() + times.every_s)

    def turn(self, now_s: float) -> None:
        """Go on: begin when it is time, and look whether the scheduler has answered."""
        if self._asking.socket is not None:
            self._hear()
        elif not self._is_busy and now_s >= self._next_s:
            self._begin(now_s)

    def _begin(self, now_s: float) -> None:
        self._next_s = now_s + self._times.every_s
        self._partials.expire(time.time() - self._times.partial_keep_s)
        self._due = self._index.due(now_ms(), REFERENCES_MAX)
        self.last_ms = now_ms()
        if not self._due:
            self.problem = ""
            return
        try:
            self._wire.watch(self._asking.ask([row.digest for row in self._due]))
        except RemudaError as error:
            self._try_later(str(error))

    def _hear(self) -> None:
        try:
            held = self._asking.answer()
        except RemudaError as error:
            self._hang_up()
            self._try_later(str(error))
            return
        if held is None:
            return
        self._hang_up()
        self.problem = ""
        found = plan(self._due, held)
        if len(self._due) == REFERENCES_MAX:
            self._next_s = 0.0  # there is more
        if found.keep:
            until_ms = now_ms() + recheck_ms(self._times.keep_ms)
            self._committer.keep(Keep([row.id for row in found.keep], until_ms), self._on_kept)
        if found.remove:
            self._is_busy = True
            self._committer.remove(Remove(found.remove), self._on_removed)

    def _on_kept(self, outcome: Outcome[set[int]]) -> None:
        try:
            outcome()
        except OSError as error:  # they are due again, and asked about again
            self._try_later(str(error))

    def _on_removed(self, outcome: Outcome[list[Removed]]) -> None:
        self._is_busy = False
        try:
            removed = outcome()
        except OSError as error:
            self._try_later(str(error))
            return
        for each in removed:
            self._ledger.remove(each)
        self.removed += len(removed)
        self._log.info("removed what nothing refers to", objects=len(removed),
                       bytes=sum(each.row.size for each in removed))  # fmt: skip
        if any(each.row.is_tree for each in removed):
            self._next_s = 0.0  # what they named may be due now

    def _hang_up(self) -> None:
        assert self._asking.socket is not None
        self._wire.forget(self._asking.socket)
        self._asking.hang_up()

    def _try_later(self, why: str) -> None:
        if why != self.problem:
            self._log.warning("cannot remove what nothing refers to", why=why)
        self.problem = why
        self._next_s = time.monotonic() + min(RETRY_S, self._times.every_s)
