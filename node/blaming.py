"""What of its cards' errors is told with an attempt that failed, and was it the card's fault?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..protocol.codec import pack_document, unpack_document
from ..protocol.messages import Outcome, Phase
from .health import Blamed
from .task import Attempt, Ending
from .xids import Blame

if TYPE_CHECKING:
    from .state import State

TOLD_MAX = 8
GPU_LOST = "gpu_lost"


def note(state: State, blamed: Iterable[Blamed]) -> None:
    """Note XIDs with the attempts that were on these cards."""
    for each in blamed:
        uuids = set(each.uuids)
        for attempt in state.attempts.values():
            lane = state.lanes.by_id.get(attempt.lane)
            gpus = attempt.gpus or (lane.gpus if lane is not None else ())
            if attempt.handed and attempt.phase != Phase.ENDED and uuids & set(gpus):
                told = state.blamed.setdefault(attempt.key, [])
                if len(told) < TOLD_MAX:
                    told.append(each)


def told(state: State, attempt: Attempt, answer: Ending) -> Ending:
    """Return how an attempt ended with what its cards suffered; a card's fault is not the task's.

    No grant is made on a card with a fault, so a fault arose while the attempt had the card.
    """
    noted = state.blamed.pop(attempt.key, [])
    if answer.outcome != Outcome.FAILED:
        return answer
    faults = state.health.faults()
    broken = [f"GPU {uuid}: {text}" for uuid in attempt.gpus for text in faults.get(uuid, ())]
    broken += [each.text for each in noted if each.blame is Blame.CONTAINED]
    texts = [each.text for each in noted if each.blame in (Blame.TASK, Blame.REPAIR)]
    if not attempt.gpus:  # a call of a resident, which has the card
        broken += [each.text for each in noted if each.blame is Blame.GPU]
    if not broken and not texts:
        return answer
    details = unpack_document(answer.details) if answer.details else {}
    said = str(details.get("message", ""))
    details["message"] = "; ".join([*broken, *dict.fromkeys(texts), *([said] if said else [])])
    code = GPU_LOST if broken else answer.code
    if broken:
        details["code"] = code
    return answer._replace(details=pack_document(details), code=code)
