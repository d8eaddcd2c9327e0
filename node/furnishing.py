"""How does an attempt that brings requirements get its environment before it begins?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..protocol.messages import Outcome
from . import endings, staging
from .environments import Made
from .interpreters import NotOffered
from .task import Attempt, Key, ending

if TYPE_CHECKING:
    from .stage import Stage

WAITING = "its environment is being made"


def begin(stage: Stage, attempt: Attempt, now: int) -> None:
    """Have its environment made, if it is to have one, and then what else it needs."""
    if not attempt.plan.spec.requirements:
        _then(stage, attempt)
        return
    try:
        base = stage.premises.base(attempt.plan.spec.python)
    except NotOffered as error:
        staging.leave(stage.state, attempt)
        endings.on_refused(stage.state, attempt, str(error))
        return
    environments = stage.premises.environments
    made = environments.want(attempt.key, base, attempt.plan.spec.requirements, now)
    if made is None:
        endings.on_progress(stage.state, attempt.key, 0, WAITING)
    else:
        _on_made(stage, made)


def let_go(stage: Stage, key: Key) -> None:
    """Count an attempt as done with its environment."""
    stage.premises.environments.let_go(key)


def on_time(stage: Stage, now: int) -> None:
    """Take in which environments were made, and begin others."""
    for made in stage.premises.environments.look(now):
        _on_made(stage, made)


def _on_made(stage: Stage, made: Made) -> None:
    for key in made.waiting:
        attempt = stage.state.staging.get(key)
        if attempt is None:
            continue
        if made.failure is None:
            _then(stage, attempt)
            continue
        code, message, tail = made.failure
        shown = {"err": tail.encode(), "err_tail": b"", "err_bytes": len(tail.encode())}
        text = f"the environment could not be made: {message}"
        word = ending(attempt, Outcome.FAILED, code, text, **(shown if tail else {}))
        endings.end(stage.state, attempt, word)


def _then(stage: Stage, attempt: Attempt) -> None:
    """Go on with what else it needs."""
    if attempt.plan.is_staged or attempt.claims:
        stage.moving.prepare(attempt)
    else:
        staging.on_staged(stage.state, attempt.key)
