"""What room do the measures of a node leave on its cards, for all that was granted since?

A heartbeat says what is free of a card and not spoken for by the tasks that the node holds. What
was granted after that statement is taken off here, and given back when its attempt ends, until the
next one says it anew: so no measure is spent twice.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..protocol import ids
from ..protocol.measures import UNKNOWN, GpuMeasure
from ..protocol.messages import Phase
from ..protocol.resources import Request
from .fleet import Card, Node, card_charge

GROWTH_BYTES_MIN = 64 << 20  # what is free goes up and down by little all the time


def see(
    node: Node, measures: dict[str, GpuMeasure], phases: Mapping[tuple[bytes, int], int]
) -> bool:
    """Take in a node's measures and what it held then, by task and attempt.

    Tells whether there is so much more room on a card that what did not fit may: also where nobody
    else computes any more, or nothing is measured, so that the ledger alone counts.
    """
    before, node.measures = node.measures, measures
    node.room_bytes = {
        uuid: measure.room_bytes
        for uuid, measure in measures.items()
        if measure.room_bytes != UNKNOWN
    }
    for task in node.held.values():
        attempt = task.live
        if attempt is None or not attempt.charges:
            continue
        phase = phases.get((ids.to_bytes(task.id), attempt.number))
        attempt.is_spoken_for = phase != Phase.ENDED
        if phase is None:  # the node had not taken it in yet
            node.speak_for(attempt, 1)
    known = node.room_known_bytes
    is_open = any(
        uuid not in node.room_bytes or (measure.foreign and not measures[uuid].foreign)
        for uuid, measure in before.items()
        if measure.room_bytes != UNKNOWN
    )
    if not is_open and all(
        room < known.get(uuid, 0) + GROWTH_BYTES_MIN for uuid, room in node.room_bytes.items()
    ):
        node.room_known_bytes = {
            uuid: min(room, known.get(uuid, 0)) for uuid, room in node.room_bytes.items()
        }
        return False
    node.room_known_bytes = dict(node.room_bytes)
    return True


def refusal(node: Node, card: Card, request: Request) -> str:
    """Say why a card that has room by what was asked for has none as measured, or nothing."""
    is_whole = bool(request.gpus)
    wanted = request.vram_bytes if is_whole else card_charge(request, card.gpu)[1]
    return too_little(node, card, wanted, is_whole=is_whole)


def too_little(node: Node, card: Card, wanted: int, *, is_whole: bool = False) -> str:
    """Say why so many bytes of a card are not to be had as measured, or nothing."""
    uuid = card.gpu.uuid
    measure = node.measures.get(uuid)
    if measure is None or uuid not in node.room_bytes:
        return ""
    return measure.refusal(wanted, is_whole=is_whole, room_bytes=node.room_bytes[uuid])
