"""How much more does a task ask for after it ran out of memory, and what is learned of its runs?"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ..protocol.failures import FailureClass
from ..protocol.resources import Request, learning_key
from .events import Now
from .fleet import Fleet
from .placement import could_run
from .records import LearnedRow
from .task import Attempt, Raised, Spec, Task, shared

if TYPE_CHECKING:
    from .core import Core

Rows = dict[str, LearnedRow]

ALIKE_MAX = 4_096
GROWTH = 1.5
MEMORY_FIRST_BYTES = 1 << 30
"""What is booked for a task that booked no memory and ran out of it."""


Alike = tuple[str, int, FailureClass, int]
"""Tasks of a kind that ran out of the same on as many cards, having had about as much of it: to a
power of 2, for what a large task needs says nothing of a small one."""


class Needs:
    """What tasks alike ask for at least after they ran out of it, in bytes."""

    def __init__(self) -> None:
        self._floors: dict[Alike, int] = {}

    def floor(self, alike: Alike) -> int:
        return self._floors.get(alike, 0)

    def learn(self, alike: Alike, wanted_bytes: int) -> None:
        """Take in what one asks for now; the oldest is dropped when the table is full."""
        known = self._floors.pop(alike, 0)
        if len(self._floors) >= ALIKE_MAX:
            del self._floors[next(iter(self._floors))]
        self._floors[alike] = max(known, wanted_bytes)


def with_raised(spec: Spec, raised: Raised) -> Spec:
    """Return the spec asking for so much memory and VRAM (0: as it does)."""
    if not (raised.memory_bytes or raised.vram_bytes):
        return spec
    return dataclasses.replace(spec, request=shared(_apply(spec.request, raised)), raised=raised)


def with_size(spec: Spec, sized_bytes: int, size_class: int) -> Spec:
    """Return the spec of a task whose arguments ask for so much VRAM, and are of this size."""
    if not (sized_bytes or size_class):
        return spec
    request = sized_request(spec.request, sized_bytes)
    if request.learned:
        request = dataclasses.replace(request, learned=learning_key(request.learned, size_class))
    return dataclasses.replace(
        spec, request=shared(request), sized_bytes=sized_bytes, size_class=size_class
    )


def sized_request(request: Request, sized_bytes: int) -> Request:
    """Return a request for so much VRAM as a task's arguments ask for (0: they do not)."""
    return dataclasses.replace(request, vram_bytes=sized_bytes) if sized_bytes else request


def _apply(request: Request, raised: Raised) -> Request:
    """Ask for at least so much, also of each alternative of no more cards."""
    changed = dataclasses.replace(
        request, others=tuple(_apply(each, raised) for each in request.others)
    )
    cards = request.cards or (1 if request.learned else 0)
    if cards > raised.cards:
        return changed
    if raised.memory_bytes:
        memory_bytes = max(raised.memory_bytes, request.memory_bytes)
        changed = dataclasses.replace(changed, memory_bytes=memory_bytes)
    if raised.vram_bytes and cards:
        vram_bytes = max(raised.vram_bytes, request.vram_bytes)
        changed = dataclasses.replace(changed, vram_bytes=vram_bytes, gpu_milli=0)
    return changed


def larger(
    spec: Spec, kind: FailureClass, attempt: Attempt, fleet: Fleet, needs: Needs
) -> Spec | None:
    """Return the spec asking for more of what the attempt ran out of, by what it was granted.

    An alternative of more cards than it had keeps asking for what it does: it did not fail.
    None when no node has more: the task may still do better where less is in use.
    """
    is_host = kind is FailureClass.MEMORY
    had = attempt.request.memory_bytes if is_host else vram_had(attempt, fleet)
    cards_had = attempt.request.cards
    alike = learning_key(spec.kind, spec.size_class), cards_had, kind, had.bit_length()
    wanted = max(int(had * GROWTH), needs.floor(alike))
    memory_bytes, vram_bytes, _ = spec.raised
    if is_host:
        wanted = memory_bytes = min(max(wanted, MEMORY_FIRST_BYTES), _most_memory(fleet))
    else:
        cards = sorted({gpu.memory_bytes for gpu in fleet.gpus()})
        if attempt.request.gpus:  # it had cards for itself: only a larger one helps
            wanted = next((size for size in cards if size > had), 0)
        wanted = vram_bytes = min(wanted, max(cards, default=0))
    if wanted <= had:
        return None
    more = with_raised(spec, Raised(memory_bytes, vram_bytes, cards_had))
    if not could_run(fleet, more.request):
        return None
    needs.learn(alike, wanted)
    return more


def _most_memory(fleet: Fleet) -> int:
    return max((node.capabilities.memory_bytes for node in fleet.nodes.values()), default=0)


def note_run(core: Core, task: Task, attempt: Attempt, run_us: int, now: Now, rows: Rows) -> None:
    """Learn of a task that succeeded what it held at most of a card."""
    if attempt.charges:
        key = learning_key(task.spec.kind, task.spec.size_class)
        before = core.learned.revision
        core.learned.add_run(key, attempt.vram_peak_bytes, run_us // 1_000)
        _write(core, key, before, now, rows)


def note_oom(core: Core, task: Task, attempt: Attempt, now: Now, rows: Rows) -> None:
    """Learn of a task that ran out of GPU memory that its kind needs more than it had."""
    if attempt.charges:
        key = learning_key(task.spec.kind, task.spec.size_class)
        before = core.learned.revision
        core.learned.add_oom(key, vram_had(attempt, core.fleet))
        _write(core, key, before, now, rows)


def _write(core: Core, key: str, revision_before: int, now: Now, rows: Rows) -> None:
    row = core.learned.due(key, now.wall_ms)
    if row is not None:
        rows[key] = row
    if core.learned.revision != revision_before:
        core.fleet.changed_all()  # what did not fit may fit now


def vram_had(attempt: Attempt, fleet: Fleet) -> int:
    """Return the GPU memory per card that an attempt was lent, or used if that was more."""
    return max(_vram_lent(attempt, fleet), attempt.vram_peak_bytes)


def _vram_lent(attempt: Attempt, fleet: Fleet) -> int:
    request = attempt.request
    if request.vram_bytes and not request.gpus:
        return request.vram_bytes
    node = fleet.nodes.get(attempt.node)
    cards = [node.cards[uuid].gpu for uuid in attempt.gpus if node and uuid in node.cards]
    size = min((gpu.memory_bytes for gpu in cards), default=request.vram_bytes)
    return size * request.gpu_milli // 1000 if request.gpu_milli else size
