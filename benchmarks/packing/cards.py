"""What happens on the cards: tasks load, take their peak, run out of memory, end."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Any

from .workloads import GIB, Work, Workload

FIRST_SHARE = 0.15
"""What a task takes of its peak while it loads: its context, the first weights."""


@dataclass
class Card:
    """One card: `taken_bytes` is what is really in use, `lent_bytes` what was declared."""

    name: str
    memory_bytes: int
    taken_bytes: int = 0
    lent_bytes: int = 0
    running: int = 0

    @property
    def free_bytes(self) -> int:
        """Return what a look at the card shows to be free."""
        return self.memory_bytes - self.taken_bytes


@dataclass(frozen=True)
class End:
    """A task that ended, well or for want of memory."""

    tag: Any
    is_oom: bool


@dataclass(frozen=True)
class Outcomes:
    """How a run went: `stranded` is the share of VRAM-time lent to nobody while tasks waited."""

    makespan_s: float
    stranded: float
    ooms: int


@dataclass
class Cards:
    """All cards of a fleet, and a clock."""

    by_name: dict[str, Card]
    waiting: int
    now_s: float = 0.0
    ooms: int = 0
    _events: list[tuple[float, int, str, Card, Work, Any]] = field(default_factory=list)
    _count: int = 0
    _lent_byte_s: float = 0.0
    _last_wait_s: float = 0.0
    _busy_byte_s: float = 0.0

    @classmethod
    def of(cls, workload: Workload) -> Cards:
        named = {}
        for host in workload.hosts:
            for number in range(host.gpus):
                name = f"GPU-{host.name}-{number}"
                named[name] = Card(name, int(host.vram_gib * GIB))
        return cls(named, len(workload.tasks))

    def start(self, name: str, work: Work, tag: Any) -> None:
        """Begin a task on a card; `tag` comes back with its end."""
        card = self.by_name[name]
        self.waiting -= 1
        card.lent_bytes += work.vram_bytes
        card.running += 1
        card.taken_bytes += int(work.peak_bytes * FIRST_SHARE)
        self._at(work.load_s, "loaded", card, work, tag)
        if not self.waiting:
            self._last_wait_s = self.now_s

    def give_up(self) -> None:
        """Take in that a task which ended for want of memory is not tried again."""
        self.waiting -= 1
        if not self.waiting:
            self._last_wait_s = self.now_s

    def next_ends(self) -> list[End]:
        """Let time pass until something ends; nothing is left when nothing does."""
        ends: list[End] = []
        while self._events and (not ends or self._events[0][0] <= self.now_s):
            self._pass(self._events[0][0])
            _, _, what, card, work, tag = heapq.heappop(self._events)
            if what == "loaded":
                grown = work.peak_bytes - int(work.peak_bytes * FIRST_SHARE)
                if card.taken_bytes + grown > card.memory_bytes:
                    self.ooms += 1
                    self.waiting += 1
                    self._leave(card, work, int(work.peak_bytes * FIRST_SHARE))
                    ends.append(End(tag, is_oom=True))
                else:
                    card.taken_bytes += grown
                    self._at(work.seconds - work.load_s, "over", card, work, tag)
            else:
                self._leave(card, work, work.peak_bytes)
                ends.append(End(tag, is_oom=False))
        return ends

    def outcomes(self) -> Outcomes:
        total = sum(card.memory_bytes for card in self.by_name.values()) * self._last_wait_s
        stranded = 1 - self._busy_byte_s / total if total else 0.0
        return Outcomes(self.now_s, stranded, self.ooms)

    def _pass(self, until_s: float) -> None:
        if self.waiting:
            taken = sum(card.taken_bytes for card in self.by_name.values())
            lent = sum(min(card.lent_bytes, card.memory_bytes) for card in self.by_name.values())
            self._busy_byte_s += max(taken, lent) * (until_s - self.now_s)
            self._last_wait_s = until_s
        self.now_s = until_s

    def _leave(self, card: Card, work: Work, taken_bytes: int) -> None:
        card.taken_bytes -= taken_bytes
        card.lent_bytes -= work.vram_bytes
        card.running -= 1

    def _at(self, in_s: float, what: str, card: Card, work: Work, tag: Any) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now_s + in_s, self._count, what, card, work, tag))
