"""What does an attempt leave behind that must be in the store before its end is told?

Its process is gone, its slot and cards are free; for the scheduler it runs until all is stored.
A task that asked for outputs succeeds only then. Of one that failed its output is stored, as far as
the result itself cannot hold it, but never its files: they stay in its directory for a while.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..protocol import codec
from ..protocol.messages import Outcome, Phase
from .effects import StopMoving, StoreOutputs
from .task import Attempt, Ending, Key

if TYPE_CHECKING:
    from .state import State


@dataclass(slots=True)
class Storing:
    """An attempt whose process ended, and what will be said of it."""

    attempt: Attempt
    answer: Ending


def is_needed(attempt: Attempt, answer: Ending) -> bool:
    """Tell whether something is to be stored before this answer counts."""
    if not (answer.returns_objects or answer.is_cut or attempt.plan.is_stored):
        return False
    has_files = bool(attempt.plan.spec.outputs) or answer.returns_objects
    return (stores_files(answer) and has_files) or stores_log(attempt, answer)


def stores_files(answer: Ending) -> bool:
    """Tell whether an attempt that ended like this brings files home."""
    return answer.outcome == Outcome.SUCCEEDED


def stores_log(attempt: Attempt, answer: Ending) -> bool:
    """Tell whether all that an attempt printed is to be stored."""
    if answer.outcome not in (Outcome.SUCCEEDED, Outcome.FAILED) or not answer.printed:
        return False
    is_long_failure = answer.outcome == Outcome.FAILED and answer.is_cut
    return is_long_failure or attempt.plan.spec.keep_log


def begin(state: State, attempt: Attempt, answer: Ending) -> None:
    """Give its slot back and have its outputs stored."""
    attempt.lane = 0
    attempt.args = b""
    state.release(attempt)
    if attempt.phase != Phase.RUNNING:
        attempt.phase = Phase.RUNNING
        state.started.append(attempt.key)
    state.storing[attempt.key] = Storing(attempt, answer)
    state.effects.append(StoreOutputs(attempt, answer))


def on_stored(state: State, key: Key, found: dict[str, Any], objects: bytes) -> Storing | None:
    """Take in what was stored; return the attempt with what is to be said of it.

    `found` goes into the details of its result, `objects` are the claims that prove it.
    """
    storing = state.storing.pop(key, None)
    if storing is None:
        return None
    answer = storing.answer
    known = codec.unpack_document(answer.details) if answer.details else {}
    details = codec.pack_document({**known, **found}) if found else answer.details
    storing.answer = answer._replace(details=details, objects=objects)
    return storing


def on_failed(state: State, key: Key, code: str, message: str) -> Storing | None:
    """Take in that it could not be stored: what succeeded has failed, what failed stays so."""
    storing = state.storing.pop(key, None)
    if storing is None:
        return None
    answer = storing.answer
    if answer.outcome != Outcome.SUCCEEDED:
        state.counters.add("logs_not_stored")
        return storing
    known = codec.unpack_document(answer.details) if answer.details else {}
    details = codec.pack_document({**known, "code": code, "message": message})
    storing.answer = answer._replace(
        outcome=Outcome.FAILED, value=b"", details=details, code=code, returns_objects=False
    )
    return storing


def leave(state: State, key: Key) -> Storing | None:
    """Give up storing for an attempt that is to end."""
    storing = state.storing.pop(key, None)
    if storing is not None:
        state.effects.append(StopMoving(key))
    return storing
