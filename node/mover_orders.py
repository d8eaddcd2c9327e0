"""Which orders to the mover have no answer yet, and which of them does it know of?"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from .mover.words import Deliver, Prepare
from .task import Key

TOLD_MAX = 64
"""Orders that a mover has at a time; the others wait here."""
TRIES_MAX = 5
"""Movers that may die with an order before it is given up."""


@dataclass(slots=True)
class Orders:
    """Keep orders by the name of their attempt; `tries` counts the movers that died with one."""

    open: dict[str, tuple[Key, Prepare | Deliver]] = field(default_factory=dict)
    waiting: deque[str] = field(default_factory=deque)
    told: set[str] = field(default_factory=set)
    tries: dict[str, int] = field(default_factory=dict)

    def add(self, key: Key, order: Prepare | Deliver) -> None:
        """Take in an order that is to be told."""
        self.open[order.name] = (key, order)
        self.waiting.append(order.name)

    def next(self) -> Prepare | Deliver | None:
        """Return the next order to tell, counting it as told."""
        while self.waiting and len(self.told) < TOLD_MAX:
            name = self.waiting.popleft()
            found = self.open.get(name)
            if found is not None and name not in self.told:
                self.told.add(name)
                return found[1]
        return None

    def settle(self, name: str) -> bool:
        """Drop an order; tell whether the mover knows of it."""
        self.open.pop(name, None)
        self.tries.pop(name, None)
        was_told = name in self.told
        self.told.discard(name)
        return was_told

    def answer(self, name: str) -> Key | None:
        """Drop an order that was answered; return whose it is, None when nobody waits any more."""
        found = self.open.get(name)
        self.settle(name)
        return found[0] if found is not None else None

    def on_new_mover(self) -> None:
        """Tell everything again: this one knows nothing."""
        for name in sorted(self.told, reverse=True):
            self.tries[name] = self.tries.get(name, 0) + 1
            self.waiting.appendleft(name)
        self.told.clear()

    def deadly(self) -> list[str]:
        """Return the orders that mover after mover died with."""
        return [name for name, tries in self.tries.items() if tries >= TRIES_MAX]
