"""Which refused requests does the audit name? Those for want of rights, each once in a while.

A row is a commit on disk, so whoever asks in vain again and again is counted in between: at most
one row per key, request and minute.
"""

from __future__ import annotations

from collections import OrderedDict

from .access import Principal
from .events import Event, RequestRefused

ROW_EVERY_NS = 60_000_000_000
KNOWN_MAX = 1_000


class Refusals:
    """Counts what was refused to whom; pure: time is handed in."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], tuple[int, int]] = OrderedDict()

    def note(self, principal: Principal, what: str, mono_ns: int) -> list[Event]:
        """Take in that somebody may not do something; return what the audit is to be told."""
        key = (principal.name, what)
        told_ns, untold = self._known.pop(key, (0, 0))
        if told_ns and mono_ns - told_ns < ROW_EVERY_NS:
            self._known[key] = told_ns, untold + 1
            return []
        self._known[key] = mono_ns, 0
        while len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
        return [RequestRefused(principal.name, what, untold)]
