"""Which nodes changed since something found no place, and what is free there: once for a turn."""

from __future__ import annotations

from .fleet import Fleet, Node


class News:
    """What changed up to the revision at which a turn of placement begins."""

    def __init__(self, fleet: Fleet) -> None:
        self.revision = fleet.revision
        self._fleet = fleet
        self._since: dict[int, list[Node]] = {}
        self._most_bytes: dict[int, int] = {}

    def since(self, revision: int) -> list[Node]:
        """Return the nodes on which something may have become free after a revision."""
        found = self._since.get(revision)
        if found is None:
            found = self._since[revision] = self._fleet.changed_since(revision)
        return found

    def most_bytes(self, revision: int) -> int:
        """Return the most VRAM that is free on one card of these nodes."""
        most = self._most_bytes.get(revision)
        if most is None:
            cards = (card for node in self.since(revision) for card in node.cards.values())
            most = max((card.vram_free_bytes for card in cards), default=0)
            self._most_bytes[revision] = most
        return most

    def count_again(self, revision: int) -> None:
        """Have what is free looked at again: something was granted meanwhile."""
        self._most_bytes.pop(revision, None)
