"""How cards are dealt out where nobody schedules VRAM: three habits, first come first served.

`first fit` and `random` look at what is free on a card right now, as scripts around nvidia-smi do:
what a task that still loads will take is not seen. `whole cards` gives each task a card of its own,
of whatever size: who runs out of memory alone on one tries a larger one from then on.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

from .cards import Card, Cards, Outcomes
from .workloads import Work, Workload

Choose = Callable[[list[Card], Work, random.Random], Card | None]


def first_fit(cards: list[Card], work: Work, chance: random.Random) -> Card | None:
    return next((card for card in cards if card.free_bytes >= work.vram_bytes), None)


def at_random(cards: list[Card], work: Work, chance: random.Random) -> Card | None:
    able = [card for card in cards if card.free_bytes >= work.vram_bytes]
    return chance.choice(able) if able else None


def whole_card(cards: list[Card], work: Work, chance: random.Random) -> Card | None:
    idle = [card for card in cards if not card.running]
    return chance.choice(idle) if idle else None


RIVALS: dict[str, Choose] = {
    "first fit": first_fit, "random": at_random, "whole cards": whole_card
}  # fmt: skip


def run(workload: Workload, choose: Choose) -> Outcomes:
    """Run a workload to its end, whoever ran out of memory again at the end of the queue."""
    chance, cards = random.Random(workload.name), Cards.of(workload)
    known, queue = list(cards.by_name.values()), deque(range(len(workload.tasks)))
    too_small = [0] * len(workload.tasks)
    while True:
        while queue:
            index = queue[0]
            work = workload.tasks[index]
            able = [card for card in known if card.memory_bytes > too_small[index]]
            if not able:  # it needs more than any card has
                queue.popleft()
                cards.give_up()
                continue
            card = choose(able, work, chance)
            if card is None:
                break
            cards.start(card.name, work, (queue.popleft(), card))
        ends = cards.next_ends()
        if not ends:
            return cards.outcomes()
        for index, card in (end.tag for end in ends if end.is_oom):
            queue.append(index)
            if not card.running:  # it was alone
                too_small[index] = card.memory_bytes
