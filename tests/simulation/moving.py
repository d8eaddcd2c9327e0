"""What moves files for a simulated agent: preparing and storing take their time, and may fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from remuda.node import endings, staging, storing
from remuda.node.effects import StageIn, StopMoving, StoreOutputs
from remuda.node.task import Key

from .agenda import MS

if TYPE_CHECKING:
    from .agent import Agent

TAKES_NS = (1 * MS, 400 * MS)
SLOW_NS = (2_000 * MS, 12_000 * MS)
SLOW_PERCENT = 10
FAILS_PERCENT = 4


class Moving:
    """Carries out the orders of one life of an agent; with its end they are forgotten."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._orders: dict[Key, int] = {}
        self._last = 0

    def prepare(self, effect: StageIn) -> None:
        """Prepare what an attempt needs."""
        self._order(effect.attempt.key, "prepared")

    def store(self, effect: StoreOutputs) -> None:
        """Store what an attempt left."""
        self._order(effect.attempt.key, "stored")

    def give_up(self, effect: StopMoving) -> None:
        """Stop; what is done already may still be said."""
        self._orders.pop(effect.key, None)

    def _order(self, key: Key, what: str) -> None:
        self._last += 1
        number = self._orders[key] = self._last
        chance = self._agent.agenda.chance
        span = SLOW_NS if chance.randrange(100) < SLOW_PERCENT else TAKES_NS
        fails = chance.randrange(100) < FAILS_PERCENT

        def end() -> None:
            agent = self._agent
            if not agent.alive or self._orders.get(key) != number:
                return
            del self._orders[key]
            if not fails:
                done = agent.host.history.prepared if what == "prepared" else _stored(agent)
                done.add(key)
            agent.inbox.moved.append((key, "failed" if fails else what))
            agent.wake()

        self._agent.agenda.after(chance.randrange(*span), end)


def _stored(agent: Agent) -> set[Key]:
    return agent.host.history.stored


def hear(agent: Agent, key: Key, word: str) -> None:
    """Turn the word of a mover into events of the core."""
    state = agent.core.state
    if word == "prepared":
        staging.on_staged(state, key)
    elif word == "stored":
        endings.on_storing_over(state, storing.on_stored(state, key, {}, b""))
    else:
        endings.on_stage_failed(state, key, "network", "the store is away")
        over = storing.on_failed(state, key, "network", "the store is away")
        endings.on_storing_over(state, over)
