"""What does systemd hear of the store, and what must it have done lately to be left alone?"""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..config.service import Service
from ..config.watchdog import Proof
from ..protocol.resources import format_bytes
from .committer import Committer
from .pool import Outcome
from .usage import Ledger

COMMIT_WITHIN_NS = 15_000_000_000
ASK_AFTER_NS = 4_000_000_000


class Wellbeing:
    """Asks the committer now and then; the loop calls `tend` at the end of each turn.

    `asks` is off for a bucket: the committer waits for it too, and no restart cures a network.
    """

    def __init__(
        self, service: Service, committer: Committer, ledger: Ledger, *, asks: bool
    ) -> None:
        self._service = service
        self._committer = committer
        self._ledger = ledger
        self._asks = asks
        self._asked_ns = self._answered_ns = time.monotonic_ns()
        self._is_asking = False

    def tend(self, now_ns: int) -> None:
        due = not self._is_asking and now_ns - self._asked_ns >= ASK_AFTER_NS
        if self._asks and self._service.is_watched and due:
            self._is_asking, self._asked_ns = True, now_ns
            self._committer.ask(self._on_answer)
        if not self._service.is_ready:
            self._service.ready(self._status())
        self._service.tend(now_ns, self._status, self._proofs)

    def stopping(self) -> None:
        self._service.stopping("stopping: finishing what is being made durable")

    def _on_answer(self, outcome: Outcome[None]) -> None:
        self._is_asking = False
        self._answered_ns = time.monotonic_ns()
        try:
            outcome()
        except OSError:  # full: an answer, and no restart makes room
            return

    def _proofs(self) -> Sequence[Proof]:
        if not self._asks:
            return ()
        return (Proof("a commit of the index", self._answered_ns, COMMIT_WITHIN_NS),)

    def _status(self) -> str:
        """Say in one line how much is kept."""
        kept = format_bytes(self._ledger.stored_bytes)
        return f"{self._ledger.objects:,} objects of {kept} altogether"
