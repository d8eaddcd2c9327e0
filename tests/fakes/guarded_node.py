"""A node with a guard of its own, that remembers what it has not got rid of yet."""

from __future__ import annotations

from collections import Counter

from remuda.protocol import capabilities as wire
from remuda.protocol import ids
from remuda.protocol import messages as m
from remuda.protocol.codec import pack_document
from remuda.protocol.resources import MILLI, Request
from remuda.scheduler.fleet import card_charge

from .world import SimNode, World

Key = tuple[int, int]


class GuardedNode(SimNode):
    """A node with the second guard: it refuses a card that it has not got back yet."""

    def __init__(self, name: str, capabilities: wire.Capabilities, world: World) -> None:
        super().__init__(name, capabilities)
        self.world = world
        self.requests: dict[int, Request] = {}
        self.life = 0
        self.refused: list[tuple[Key, bytes]] = []
        self.said: list[m.Results] = []
        self.unacked: dict[Key, m.Results] = {}

    def take(self, message: m.Message) -> None:
        before = set(self.held)
        super().take(message)
        if isinstance(message, m.Offer):
            for task, _ in self.held.keys() - before:
                self.requests[task] = self.world.core.tasks[task].spec.request
            for key in [key for key in self.held if key not in before and not self.fits(key)]:
                self.refused.append((key, self.held.pop(key)[0]))
        for key in self.acked:
            self.unacked.pop(key, None)

    def fits(self, newest: Key) -> bool:
        """Tell whether the cards of the newest attempt carry it next to all that lives here."""
        share: Counter[str] = Counter()
        vram: Counter[str] = Counter()
        cards = {card.uuid: card for card in self.capabilities.gpus}
        for (task, _), (_, phase) in self.held.items():
            if phase is m.Phase.ENDED:
                continue
            for uuid in self.gpus[task]:
                used = card_charge(self.requests[task], cards[uuid])
                share[uuid] += used[0]
                vram[uuid] += used[1]
        granted = self.gpus[newest[0]]
        assert len(set(granted)) == len(granted) == self.requests[newest[0]].cards
        return all(
            share[uuid] <= MILLI and vram[uuid] <= cards[uuid].memory_bytes for uuid in granted
        )

    def end(self, key: Key, outcome: m.Outcome, code: str) -> m.Results:
        """End a held attempt; what is said stays due until it is acknowledged."""
        token, _ = self.held[key]
        failed = pack_document({"code": code}) if outcome is m.Outcome.FAILED else b""
        said = m.Results(
            [ids.to_bytes(key[0])], [key[1]], [token], [int(outcome)], [b"v"], [failed], [900]
        )
        self.held[key] = token, m.Phase.ENDED
        self.unacked[key] = said
        self.said.append(said)
        return said

    def lose_memory(self) -> None:
        """Come up anew with nothing, as after a power cut."""
        self.held.clear()
        self.gpus.clear()
        self.refused.clear()
        self.unacked.clear()
        self.acked.clear()
        self.begin_life()

    def begin_life(self) -> None:
        self.life += 1
        self.incarnation = f"{self.name}-{self.life}".encode().ljust(16, b"-")
        self.rev = self.seq = 0
