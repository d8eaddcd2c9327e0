"""What a node lends besides its cards, said as parts of cards: so one rule judges all of it.

A named thing is a card whose bytes are how many there are; a node is a card of which a task takes
nothing, and who is to be alone all.
"""

from __future__ import annotations

from collections.abc import Iterable

from remuda.protocol.capabilities import Capabilities
from remuda.protocol.resources import MILLI

Part = tuple[str, int, int]


def parts(node: str, resources: Iterable[tuple[str, int]], *, exclusive: bool) -> list[Part]:
    """Return what one task takes."""
    named = [(f"{name} of {node}", 0, count) for name, count in resources]
    return [*named, (f"{node} itself", MILLI if exclusive else 0, 0)]


def sizes(node: str, known: Capabilities) -> dict[str, int]:
    """Return how much there is of each."""
    return {f"{name} of {node}": count for name, count in known.resources.items()}
