"""What would NVML show of the cards of a simulated host, and what is wrong with them?"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from remuda.node.gpu import Gpu, GpuProcess, LostGpu, Reading, Xid
from remuda.protocol import capabilities as wire

from ..invariants import FAR_NS, Run
from .agenda import MS
from .things import Part

RESIDUE_NS = 100 * MS
"""So long a card still shows a process that is gone."""
STRANGER_PID = 90_000
"""Processes of others have numbers from here on."""


@dataclass(slots=True, eq=False)
class Model:
    """The life of a model in memory."""

    pid: int
    name: str
    part: Part
    start_ns: int
    end_ns: int = FAR_NS


class Stranger(NamedTuple):
    """A process that is not of this cluster."""

    pid: int
    uuid: str
    memory_bytes: int
    since_ns: int
    until_ns: int


@dataclass(slots=True)
class Nvml:
    """The driver's view: `used` are (pid, run).

    Of what is wrong, `lost` and `unrepaired` are until when, by card; `xids` are told once.
    """

    capabilities: wire.Capabilities
    used: list[tuple[int, Run]] = field(default_factory=list)
    models: list[Model] = field(default_factory=list)
    strangers: list[Stranger] = field(default_factory=list)
    lost: dict[str, int] = field(default_factory=dict)
    unrepaired: dict[str, int] = field(default_factory=dict)
    ecc_errors: Counter[str] = field(default_factory=Counter)
    xids: list[Xid] = field(default_factory=list)

    def see(self, pid: int, run: Run) -> None:
        """Take in that a process began; it matters if it has cards."""
        if run.cards:
            self.used.append((pid, run))

    def reboot(self) -> None:
        """Lose every process, and what only a reset mends."""
        self.used.clear()
        self.strangers.clear()
        self.unrepaired.clear()
        self.ecc_errors.clear()

    def mend(self) -> None:
        """End all that is wrong."""
        self.strangers.clear()
        self.lost.clear()
        self.unrepaired.clear()

    def read(self, now_ns: int) -> tuple[Reading, frozenset[int]]:
        """Return a reading, and which of the processes that it shows live."""
        self.used = [
            (pid, run)
            for pid, run in self.used
            if run.is_alive or now_ns <= run.end_ns + RESIDUE_NS
        ]
        self.strangers = [each for each in self.strangers if now_ns < each.until_ns]
        models = [each for each in self.models if now_ns <= each.end_ns + RESIDUE_NS]
        shown = [card for card in self.capabilities.gpus if now_ns >= self.lost.get(card.uuid, 0)]
        gone = [card for card in self.capabilities.gpus if card not in shown]
        gpus = tuple(self._card(card, models, now_ns) for card in shown)
        lost = tuple(LostGpu(card.index, "GPU is lost", is_gone=True) for card in gone)
        xids, self.xids = tuple(self.xids), []
        living = [pid for pid, run in self.used if run.is_alive]
        living += [each.pid for each in models if each.end_ns == FAR_NS]
        living += [each.pid for each in self.strangers]
        return Reading(gpus, lost=lost, xids=xids), frozenset(living)

    def _card(self, card: wire.Gpu, models: list[Model], now_ns: int) -> Gpu:
        here = [
            (pid, vram)
            for pid, run in self.used
            for uuid, _, vram in run.cards
            if uuid == card.uuid
        ]
        here += [(each.pid, each.part[2]) for each in models if each.part[0] == card.uuid]
        here += [(each.pid, each.memory_bytes) for each in self.strangers if each.uuid == card.uuid]
        free = max(0, card.memory_bytes - sum(vram for _, vram in here))
        processes = tuple(GpuProcess(pid, vram, name="python") for pid, vram in here)
        return Gpu(
            card.uuid, card.index, card.name, card.memory_bytes, free, card.cc, "550",
            processes=processes, ecc_errors=self.ecc_errors[card.uuid],
            is_repair_pending=now_ns < self.unrepaired.get(card.uuid, 0),
        )  # fmt: skip
