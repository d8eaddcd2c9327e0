"""When does a simulated agent read its cards, and when does the answer come?"""

from __future__ import annotations

from collections.abc import Callable

from remuda.node import releases
from remuda.node.gpu import Reading
from remuda.node.state import State

from .agenda import MS, SECOND
from .host import Host

TAKES_NS = (5 * MS, 60 * MS)
EVERY_NS = 5 * SECOND


class Probe:
    """Ask now and then, and when the release of a card waits for it."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._next_ns = 0

    def look(
        self, state: State, now: int, on_reading: Callable[[Reading, int, frozenset[int]], None]
    ) -> None:
        """Begin a reading if one is due."""
        if not self._host.capabilities.gpus:
            return
        if not releases.is_reading_due(state, now) and now < self._next_ns:
            return
        self._next_ns = now + EVERY_NS
        agenda = self._host.agenda

        def answer() -> None:
            reading, living = self._host.nvml.read(agenda.now_ns)
            on_reading(reading, now, living)

        agenda.after(agenda.chance.randrange(*TAKES_NS), answer)

    def deadline(self) -> int | None:
        return self._next_ns if self._host.capabilities.gpus else None
