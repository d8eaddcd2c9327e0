"""What does the node say of an attempt to a scheduler whose journal does not know it?"""

from __future__ import annotations

from typing import Any

from ..protocol import codec
from ..protocol.messages import Describe, Described
from ..protocol.resources import MILLI
from ..protocol.spec import to_document
from .slots import Charge
from .state import State
from .task import Attempt

MESSAGE_BYTES_MAX = 1 << 20
"""Documents of one message; a single one is never larger than a few frames of an offer."""


def on_describe(state: State, message: Describe) -> None:
    """Have attempts described at the end of the turn; what is not held needs no description."""
    if message.incarnation != state.incarnation:
        state.counters.add("other_incarnation")
        return
    for key in zip(message.tasks, message.attempts, strict=True):
        if key in state.attempts:
            state.undescribed[key] = None


def take(state: State) -> list[Described]:
    """Return what is to be said, in messages that are not too long."""
    found: list[Described] = []
    size = 0
    keys, state.undescribed = state.undescribed, {}
    for key in keys:
        attempt = state.attempts.get(key)
        if attempt is None:
            continue
        document = describe(attempt)
        more = len(codec.pack_document(document))
        if not found or size + more > MESSAGE_BYTES_MAX:
            found.append(Described([], [], []))
            size = 0
        size += more
        found[-1].tasks.append(attempt.task)
        found[-1].attempts.append(attempt.number)
        found[-1].documents.append(document)
    return found


def describe(attempt: Attempt) -> dict[str, Any]:
    """Write down what is known; an agent that took it over knows what it takes, not what it is."""
    spec, plan = attempt.plan.spec, attempt.plan
    is_whole = bool(spec.argv or spec.target)
    document = to_document(spec)
    if not is_whole:
        document |= _lent(attempt.charge)
    return {
        "owner": plan.owner,
        "spec": document,
        "is_whole": is_whole,
        "args": attempt.args,
        "batch": attempt.batch,
        "gpus": list(attempt.gpus),
        "token": attempt.token,
    }


def _lent(charge: Charge) -> dict[str, Any]:
    """Say what is taken as a specification asks for it."""
    found: dict[str, Any] = {
        "cpus_milli": charge.cpus_milli,
        "memory_bytes": charge.memory_bytes,
        "resources": dict(charge.resources),
        "exclusive": charge.exclusive,
    }
    if charge.cards:
        card = charge.cards[0]
        if card.share_milli >= MILLI:
            found["gpus"] = len(charge.cards)
        elif card.share_milli:
            found["gpu_milli"] = card.share_milli
        else:
            found["vram_bytes"] = card.vram_bytes
    return found
