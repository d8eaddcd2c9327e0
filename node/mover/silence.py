"""Does the store answer those who wait for it? The agent is told when that changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

SILENT_S = 5.0


class Way(Protocol):
    """One way to the store: since when it waits (0: it does not), when it heard something last."""

    @property
    def waits_since_s(self) -> float: ...

    @property
    def heard_s(self) -> float: ...


@dataclass(slots=True)
class Silence:
    """The silence of the store, over all ways to it; it lasts until a word of it or our last job.

    One that gives up does not end it, for the next one waits for the same store.
    """

    is_so: bool = False
    _noticed_s: float = 0.0

    def look(self, ways: Sequence[Way], now_s: float, *, has_jobs: bool) -> bool:
        """Look once; return whether it changed."""
        heard_s = max((way.heard_s for way in ways), default=0.0)
        waits = [since for way in ways if (since := way.waits_since_s)]
        was_so = self.is_so
        if was_so:
            self.is_so = has_jobs and heard_s < self._noticed_s
        elif waits and now_s - max(heard_s, min(waits)) > SILENT_S:
            self.is_so, self._noticed_s = True, now_s
        return self.is_so != was_so
