"""How an occupant is ended: TERM, the grace, then KILL until nobody is left."""

from __future__ import annotations

import math
import signal

from .hands import OWN, Hands

FAST_ROUNDS = 200
"""Rounds of KILL without a pause, for trees that fork while they die; between, pauses grow."""
DEEP_ROUND = 4
"""Every so many rounds go all the way down: a killed parent that gets no CPU hides its children."""
KILL_AGAIN_S = 0.005
KILL_AGAIN_MAX_S = 1.0


class Ending:
    """One end in progress. The caller reaps between two calls; ECHILD is the end of the end.

    Without a grace, `killed` are those that were alive when the killing began; `killing_since` is
    when that was, infinite before.
    """

    def __init__(self, how: str, *, grace_s: float, now: float, hands: Hands = OWN) -> None:
        self.how = how
        self._hands = hands
        self.killed: set[int] = set()
        self.killing_since = now if grace_s <= 0 else math.inf
        self.next_at = now + max(0.0, grace_s)
        self._rounds = 0
        self._again_s = KILL_AGAIN_S
        if grace_s > 0:
            # A stopped process acts on TERM only once it runs.
            hands.signal_all(signal.SIGTERM, signal.SIGCONT)
        else:
            self.killed = hands.signal_all(signal.SIGKILL)

    def hasten(self, grace_s: float, now: float) -> None:
        """Shorten the grace; it is never prolonged."""
        self.next_at = min(self.next_at, now + max(0.0, grace_s))

    def on_time(self, now: float) -> None:
        """Kill whoever is left once the grace is over, again and again with growing pauses."""
        if now < self.next_at:
            return
        self.killing_since = min(self.killing_since, now)
        self._rounds += 1
        if self._rounds % DEEP_ROUND:
            self._hands.kill_children()
        else:
            self._hands.signal_all(signal.SIGKILL)
        if self._rounds % FAST_ROUNDS == 0:
            # Stuck in the kernel, or of another user: it cannot be hurried.
            self.next_at = now + self._again_s
            self._again_s = min(2 * self._again_s, KILL_AGAIN_MAX_S)
