"""What does systemd hear of the scheduler, and what must it have done lately to be left alone?"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ..config.service import Service
from ..config.watchdog import Proof, withheld
from .view import View
from .wire import HEARTBEAT_PER_TURN

COMMIT_WITHIN_NS = 10_000_000_000
ASK_AFTER_NS = 4_000_000_000
HEARD_WITHIN_NS = 10_000_000_000


class Wellbeing:
    """Keeps the proofs of the loop and tells the service manager; the loop calls all of it."""

    def __init__(
        self,
        service: Service,
        view: View,
        ask_disk: Callable[[], None],
        *,
        is_asked: bool = False,
    ) -> None:
        self._is_asked = is_asked  # whether somebody else than the service manager wants proofs
        self._service = service
        self._view = view
        self._ask_disk = ask_disk
        self._committed_ns = self._heard_ns = time.monotonic_ns()

    def committed(self, now_ns: int) -> None:
        self._committed_ns = now_ns

    def heard(self, heartbeats: int, now_ns: int) -> None:
        """Take in how many heartbeats a turn took: fewer than it may means that none is left."""
        if heartbeats < HEARTBEAT_PER_TURN:
            self._heard_ns = now_ns

    def tend(self, now_ns: int) -> None:
        """At the end of a turn: ask a disk that had nothing to do, say how it goes, ping."""
        is_watched = self._service.is_watched or self._is_asked
        if is_watched and now_ns - self._committed_ns >= ASK_AFTER_NS:
            self._ask_disk()
            now_ns = self._committed_ns = time.monotonic_ns()
        if not self._service.is_ready:
            self._service.ready(self._status())
        self._service.tend(now_ns, self._status, self._proofs)

    def withheld(self, now_ns: int) -> str:
        """Say which proof is too old; empty while all are fresh."""
        return withheld(self._proofs(), now_ns)

    def stopping(self) -> None:
        self._service.stopping("stopping: tasks on the nodes go on")

    def _proofs(self) -> Sequence[Proof]:
        return (
            Proof("a commit", self._committed_ns, COMMIT_WITHIN_NS),
            Proof("all heartbeats heard", self._heard_ns, HEARD_WITHIN_NS),
        )

    def _status(self) -> str:
        """Say in one line what an operator asks first; what is wrong comes before the rest."""
        nodes = self._view.core.fleet.nodes.values()
        ready = sum(
            1
            for node in nodes
            if node.connected and not node.suspect and not node.lost and node.drain is None
        )
        counts = self._view.counts()
        words = [f"{counts.get(word, 0):,} {word}" for word in ("running", "queued")]
        said = ", ".join([f"{ready} of {len(nodes)} nodes ready", *words])
        trouble = next(iter(self._view.troubles().values()), "")
        return f"{trouble}; {said}" if trouble else said
