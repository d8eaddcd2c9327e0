"""What does one who submits do while the queue is full: give up, or wait for how long?"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

from ..protocol.errors import Invalid, QueueFull
from ..protocol.messages import Submit
from ..protocol.resources import parse_duration_s

if TYPE_CHECKING:
    from .session import Session
    from .task import Task

PAUSE_S_MIN = 0.2
PAUSE_S_MAX = 30.0
JITTER = 0.5
FOR_EVER_S = float("inf")
Stored = TypeVar("Stored")
ALLOWED = "fail, wait, or wait=10m"


def patience_of(options: Mapping[str, object], default_s: float = 0.0) -> float:
    """Return for how many seconds a full queue is waited for; raises Invalid.

    `default_s` is meant where nothing is said: `map` waits for ever, all else does not wait.
    """
    given = options.get("when_full")
    if given is None or given == "":
        return default_s
    word, equals, text = str(given).partition("=")
    if word == "fail" and not equals:
        return 0.0
    if word == "wait" and not equals:
        return FOR_EVER_S
    if word != "wait":
        raise Invalid(f"when_full: found {given!r}, allowed is {ALLOWED}", field="when_full")
    try:
        return parse_duration_s(text)
    except ValueError as error:
        raise Invalid(f"when_full: {error}", field="when_full") from error


class Patience:
    """How long a submission may be held up by a full queue, over all its frames."""

    def __init__(self, patience_s: float) -> None:
        self._until = time.monotonic() + patience_s

    def pause(self, refusal: QueueFull, closed: threading.Event) -> None:
        """Wait for as long as the refusal asks for, with jitter; raises it when time is up."""
        left_s = self._until - time.monotonic()
        if left_s <= 0:
            raise refusal
        asked_s = min(max(refusal.retry_after_s, PAUSE_S_MIN), PAUSE_S_MAX)
        closed.wait(min(asked_s * (1 + JITTER * random.random()), left_s))


def store(session: Session, message: Submit, patience: Patience) -> list[Task]:
    """Submit one frame; the same frame again while the queue is full, as it keeps its key."""
    return settle(session.submit, message, session.submit(message), patience, session.closed)


def settle(
    send: Callable[[Submit], Future[Stored]],
    message: Submit,
    stored: Future[Stored],
    patience: Patience,
    closed: threading.Event,
) -> Stored:
    """Wait for a frame that is on its way, sending it again while the queue is full."""
    while True:
        try:
            return stored.result()
        except QueueFull as refusal:
            patience.pause(refusal, closed)
        stored = send(message)
