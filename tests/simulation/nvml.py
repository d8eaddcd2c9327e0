"""What would NVML show of the cards of a simulated host?"""

from __future__ import annotations

from dataclasses import dataclass, field

from remuda.node.gpu import Gpu, GpuProcess, Reading
from remuda.protocol import capabilities as wire

from ..invariants import Run
from .agenda import MS

RESIDUE_NS = 100 * MS
"""So long a card still shows a process that is gone."""


@dataclass(slots=True)
class Nvml:
    """The driver's view: `used` are (pid, run)."""

    capabilities: wire.Capabilities
    used: list[tuple[int, Run]] = field(default_factory=list)

    def see(self, pid: int, run: Run) -> None:
        """Take in that a process began; it matters if it has cards."""
        if run.cards:
            self.used.append((pid, run))

    def read(self, now_ns: int) -> tuple[Reading, frozenset[int]]:
        """Return a reading, and which of the processes that it shows live."""
        self.used = [
            (pid, run)
            for pid, run in self.used
            if run.is_alive or now_ns <= run.end_ns + RESIDUE_NS
        ]
        gpus = tuple(self._card(card) for card in self.capabilities.gpus)
        return Reading(gpus), frozenset(pid for pid, run in self.used if run.is_alive)

    def _card(self, card: wire.Gpu) -> Gpu:
        here = [
            (pid, vram)
            for pid, run in self.used
            for uuid, _, vram in run.cards
            if uuid == card.uuid
        ]
        used_bytes = sum(vram for _, vram in here)
        processes = tuple(GpuProcess(pid, None) for pid, _ in here)
        return Gpu(
            card.uuid, card.index, card.name, card.memory_bytes, card.memory_bytes - used_bytes,
            card.cc, "550", processes=processes,
        )  # fmt: skip
