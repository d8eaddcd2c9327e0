"""How does a simulated agent judge the health of its cards, and is what it then takes in right?

The judging is the real one (`node/health.py`); what is held against the truth are rules of I13.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from remuda.node import blaming, health
from remuda.node.checkups import cards_from_plain, cards_to_plain
from remuda.node.gpu import Reading
from remuda.node.releases import HELD_BACK
from remuda.node.slots import Charge, Holder
from remuda.node.usage import Owner
from remuda.protocol.resources import MILLI

from .agenda import SECOND

if TYPE_CHECKING:
    from .agent import Agent

LIMITS = health.Limits(2 * SECOND, 3 * SECOND, 2 * SECOND, 8 * SECOND)


class Checkups:
    """Belongs to one life of an agent; what it knows of its cards outlives that on the host."""

    def __init__(self, agent: Agent, now: int) -> None:
        self._agent = agent
        self._health = agent.core.state.health
        self._health.limits = LIMITS
        self._health.cards.update(cards_from_plain(agent.host.health_kept, now))
        self._saved = self._health.changes
        self._known: dict[Holder, Charge] = {}
        self._faulty: set[str] = set()
        self._read_ns = -1
        self._close()

    def begin(self) -> None:
        """Take what was adopted as it is."""
        self._known = dict(self._agent.core.state.slots.holders)

    def see(self, reading: Reading, now: int) -> None:
        """Take in a reading."""
        state = self._agent.core.state
        told = health.see(self._health, reading, reading.gpus, self._free(), now, "noon")
        blaming.note(state, told)
        self._close()

    def owners(self) -> dict[int, Owner]:
        """Say for whom each process on the cards works."""
        core, nvml = self._agent.core, self._agent.host.nvml
        found = {each.pid: Owner(each.name) for each in nvml.models}
        for pid, run in nvml.used:
            attempt = core.find((run.task, run.attempt))
            found[pid] = Owner(attempt.seq, attempt) if attempt is not None else Owner(None)
        return found

    def on_time(self, now: int) -> None:
        """Try what is due; say what has changed."""
        for uuid in health.trials_due(self._health, self._free(), now):
            failure = health.obstacle(self._health.cards[uuid])
            health.on_tried(self._health, uuid, failure, now)
        if self._saved != self._health.changes:
            self._saved = self._health.changes
            self._close()
            self._agent.host.health_kept = cards_to_plain(self._health.cards)
            self._agent.membership.beat_soon(now)

    def deadline(self) -> int | None:
        return health.deadline(self._health, self._free())

    def judge(self, read_ns: int) -> None:
        """I13: nothing is taken in on a card that is known to be faulty or full.

        `read_ns` is when the cards were read last, as far as this turn knew when it began; what
        became known in this turn may have come too late for what it took in.
        """
        holders = self._agent.core.state.slots.holders
        faulty = set(self._health.faults())
        gone = [part for h, each in self._known.items() if h not in holders for part in each.cards]
        for holder in [each for each in holders if each not in self._known]:
            if isinstance(holder, str) and holder.startswith(HELD_BACK):
                continue
            for part in holders[holder].cards:
                if part in gone:  # it passed from a worker to its call, or back
                    gone.remove(part)
                    continue
                if part.uuid in faulty & self._faulty:
                    self._found(f"lends {part.uuid} to {holder}, which has a fault")
                if part.share_milli != MILLI and self._is_full(part.uuid, self._read_ns):
                    self._found(f"lends {part.uuid} to {holder}, where others left no room")
        self._known, self._faulty, self._read_ns = dict(holders), faulty, read_ns

    def _is_full(self, uuid: str, read_ns: int) -> bool:
        """Tell whether a stranger that was read before leaves too little for all that is lent."""
        nvml, now_ns = self._agent.host.nvml, self._agent.agenda.now_ns
        strange = sum(
            each.memory_bytes
            for each in nvml.strangers
            if each.uuid == uuid and each.since_ns < read_ns and now_ns < each.until_ns
        )
        charges = self._agent.core.state.slots.holders.values()
        lent = sum(part.vram_bytes for each in charges for part in each.cards if part.uuid == uuid)
        card = self._agent.core.state.slots.cards[uuid]
        return strange > 0 and strange + lent > card.memory_bytes

    def _found(self, text: str) -> None:
        host = self._agent.host
        host.history.found.append(f"I13 {host.name} {text}, at {self._agent.agenda.now_ns} ns")

    def _free(self) -> frozenset[str]:
        slots = self._agent.core.state.slots
        return frozenset(uuid for uuid in self._health.cards if slots.is_card_free(uuid))

    def _close(self) -> None:
        self._agent.core.state.slots.closed = self._health.withheld()
