"""What does an attempt wait for before it can begin: files, code, an environment, a directory?

It holds its slot meanwhile, is in nobody's hands, and can be ended at any moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .effects import StageIn, StopMoving
from .task import Attempt, Key

if TYPE_CHECKING:
    from .state import State


def is_needed(attempt: Attempt) -> bool:
    """Tell whether something is to be prepared for an attempt."""
    return attempt.plan.is_staged or bool(attempt.claims or attempt.plan.spec.requirements)


def begin(state: State, attempt: Attempt) -> None:
    """Have it prepared; it is queued once that is done."""
    state.staging[attempt.key] = attempt
    state.effects.append(StageIn(attempt))


def on_staged(state: State, key: Key) -> None:
    """Queue an attempt for which all is prepared, unless it ended meanwhile."""
    attempt = state.staging.pop(key, None)
    if attempt is not None:
        state.progress.pop(key, None)
        state.backlog.add(attempt)


def leave(state: State, attempt: Attempt) -> None:
    """Give up preparing for an attempt that ends."""
    if state.staging.pop(attempt.key, None) is not None:
        state.effects.append(StopMoving(attempt.key))
