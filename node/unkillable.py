"""Which tasks were killed and do not die, and what is said of them until they do?

Their slots stay taken, so they are a drain of the node that only people can end.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..config.logs import get_logger
from ..protocol import ids
from ..worker.asks import Stuck
from .crew import Seat
from .stage import Stage
from .task import Attempt

AGAIN_NS = 1_000_000_000
"""How often the tree of a dead runner is killed again."""
FIRST_KILL_S = 1.0
"""How long the agent stands still for the tree of a runner that was killed."""


@dataclass(slots=True)
class Haunted:
    """Runners that were killed and of which something lives on; `since` tells for how long."""

    stage: Stage
    since: dict[Seat, int] = field(default_factory=dict)
    _again_at: int = 0

    def kill_s(self, seat: Seat) -> float:
        """Return how long to wait for the end of a tree that is killed."""
        return 0.0 if seat in self.since else FIRST_KILL_S

    def add(self, seat: Seat, number: int, now: int) -> None:
        """Take in that this many processes live on; after a while it is said."""
        since = self.since.setdefault(seat, now)
        if now - since >= self.stage.crew.unkillable_after_s * 1e9:
            on_left_alive(self.stage, seat, number)

    def due(self, now: int) -> list[Seat]:
        """Return the runners to look at again."""
        if not self.since or now < self._again_at:
            return []
        self._again_at = now + AGAIN_NS
        return list(self.since)


def on_stuck(stage: Stage, seat: Seat, message: Stuck) -> None:
    """Take in that what a runner has does not die."""
    attempt = stage.core.find((message.task, message.attempt))
    whose = f"task {name_of(attempt)}" if attempt is not None else f"worker {message.worker}"
    rows = [f"process {pid} ({name}) in state {state}" for pid, state, name in message.rows]
    which = ", ".join(rows) or "a process that is not shown"
    _note(stage, seat, f"{whose} does not die: {which}, {message.since_s:.0f} s after KILL")


def on_left_alive(stage: Stage, seat: Seat, number: int) -> None:
    """Take in that processes of a runner that was killed survive KILL."""
    held = [stage.core.find(key) for key, other in stage.seat_of.items() if other is seat]
    names = [name_of(attempt) for attempt in held if attempt is not None]
    whose = f"task {', '.join(names)}" if names else "a worker"
    _note(stage, seat, f"{whose} does not die: {number} processes of a runner that was killed")


def on_dead(stage: Stage, seat: Seat) -> None:
    """Take in that nothing of it lives any more."""
    if stage.unkillable.pop(seat, None) is not None:
        stage.has_news = True
        get_logger().info("what could not be killed is gone", runner=seat.directory.name)


def name_of(attempt: Attempt) -> str:
    """Name a task as people know it."""
    return ids.format_id(ids.from_bytes(attempt.task), int.from_bytes(attempt.batch, "big"))


def _note(stage: Stage, seat: Seat, text: str) -> None:
    is_new = seat not in stage.unkillable
    stage.unkillable[seat] = f"{text}; its slot stays taken until it does"
    stage.has_news = True
    if is_new:
        get_logger().error("a task cannot be killed", why=text, runner=seat.directory.name)
