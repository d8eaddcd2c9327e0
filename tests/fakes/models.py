"""Which models has a simulated node in memory: loaded for the calls that it is granted, let go
when it is asked to?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from remuda.protocol import codec, spec
from remuda.protocol import messages as m
from remuda.protocol.measures import Resident
from remuda.scheduler.seats import Seat, seat_of

if TYPE_CHECKING:
    from .world import SimNode


def seat(node: SimNode, task: int) -> Seat | None:
    """Return where a held call runs; None for other tasks, and for what was sent ahead."""
    asked = spec.from_document(codec.unpack_document(node.specs[task]))
    handler = {each.name: each for each in node.capabilities.handlers}.get(asked.target)
    if asked.kind != "handler" or handler is None:
        return None
    if handler.vram_bytes and not node.gpus[task]:
        return None
    return Seat(handler.name, handler.model_for(asked.model), (*node.gpus[task], "")[0])


def wanted(node: SimNode, task: int, state: str = "ready") -> Resident | None:
    """Return what must be loaded for a call that was granted just now."""
    where = seat(node, task)
    if where is None:
        return None
    handler = next(each for each in node.capabilities.handlers if each.name == where.handler)
    calls = sum(seat(node, other) == where for other in living(node))
    workers = sum(seat_of(each) == where for each in node.residents)
    if calls <= workers * handler.max_batch:
        return None
    return Resident(*where, handler.vram_bytes, state, load_ms=20_000)


def living(node: SimNode) -> list[int]:
    return [task for (task, _), (_, phase) in node.held.items() if phase is not m.Phase.ENDED]


def evict(node: SimNode, message: m.Evict) -> list[Resident]:
    """Let go what a message names, unless it has calls; return what left."""
    left = []
    for row in zip(message.handlers, message.models, message.gpu_uuids, strict=True):
        calls = sum(seat(node, task) == row for task in living(node))
        here = [each for each in node.residents if seat_of(each) == row]
        if len(here) > calls:
            node.residents.remove(here[0])
            left.append(here[0])
    return left
