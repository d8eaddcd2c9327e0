"""Is a statement that would end most of what runs here believed at once?

A scheduler whose journal was restored from an old copy, or that is plainly wrong, does not know
what runs here and would end it all. So it has to say so in several revisions that agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .task import Attempt, Key

SPARED_MAX = 2
"""So many may always be ended at once."""
REVISIONS = 3
"""Consecutive revisions that must agree on an attempt."""


@dataclass(slots=True)
class Fuse:
    """How often each attempt was doomed in a row, up to a revision."""

    rev: int = 0
    counts: dict[Key, int] = field(default_factory=dict)

    def reset(self) -> None:
        """Begin with a scheduler, whose revisions are its own."""
        self.rev, self.counts = 0, {}

    def confirmed(self, doomed: Sequence[Attempt], living: int, rev: int) -> Sequence[Attempt]:
        """Return those to end now, of all that a revision dooms among `living` attempts."""
        if len(doomed) <= SPARED_MAX or 2 * len(doomed) <= living:
            self.reset()
            return doomed
        if rev <= self.rev:  # the same statement again is no confirmation
            return []
        self.rev = rev
        self.counts = {one.key: self.counts.get(one.key, 0) + 1 for one in doomed}
        return [one for one in doomed if self.counts[one.key] >= REVISIONS]
