"""What will do for a request now: each alternative in order, with VRAM that was learned looked up.

A kind of task of which too little is known gets whole cards. So does one that was seen to need
more than any card it may have: then the largest of these.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from ..protocol.resources import Request
from .feasible import may_ever
from .fleet import Fleet
from .learned import Learned
from .placement import could_run
from .suiting import cards_to_lend, suits
from .task import shared

KNOWN_MAX = 4_096


class Options:
    """Resolves requests, and remembers how until the fleet's shape or what was learned changes."""

    def __init__(self, fleet: Fleet, learned: Learned) -> None:
        self._fleet = fleet
        self._learned = learned
        self._revisions = (-1, -1)
        self._known: dict[Request, tuple[Request, ...]] = {}

    def of(self, request: Request) -> tuple[Request, ...]:
        """Return what will do, in order; none of them has alternatives or is to be looked up."""
        if not (request.others or request.learned):
            return (request,)
        revisions = (self._fleet.shape_revision, self._learned.revision)
        if revisions != self._revisions or len(self._known) >= KNOWN_MAX:
            self._known.clear()
            self._revisions = revisions
        found = self._known.get(request)
        if found is None:
            found = self._known[request] = tuple(self._resolved(request))
        return found

    def _resolved(self, request: Request) -> Iterator[Request]:
        for each in (dataclasses.replace(request, others=()), *request.others):
            yield shared(self._sized(each) if each.learned else each)

    def _sized(self, request: Request) -> Request:
        whole = dataclasses.replace(request, learned="", gpus=max(request.gpus, 1), gpu_milli=0)
        reserved = self._learned.reservation(request.learned)
        if reserved is None:
            return whole
        wanted = max(reserved, request.vram_bytes)
        part = dataclasses.replace(
            whole, vram_bytes=wanted, gpus=request.gpus if request.gpus > 1 else 0
        )
        if could_run(self._fleet, part):
            return part
        return dataclasses.replace(whole, vram_bytes=min(wanted, self._largest(whole)))

    def _largest(self, request: Request) -> int:
        """Return the size of the largest card that a request for whole ones may get."""
        sizes = (
            card.gpu.memory_bytes
            for node in self._fleet.nodes.values()
            if not may_ever(node, request)
            for card in cards_to_lend(node)
            if suits(card, request)
        )
        return max(sizes, default=0)
