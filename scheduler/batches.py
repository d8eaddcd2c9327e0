"""How far is each batch: how many of its tasks are where, which failed first, how fast they end?

Of a batch with open tasks this is always known; of those that have ended since, of the latest.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from .task import State, Task

ENDED_KEPT_MAX = 1_024
FAILURES_KEPT = 10
ENDS_KEPT = 64
_STATES = len(State)


class EndedMembers(NamedTuple):
    """What the journal tells of members that have ended: counts by state, the first failures."""

    counts: dict[int, int]
    failures: list[int]


@dataclass(slots=True)
class Ends:
    """How many members ended in a second of the wall clock."""

    second: int
    tasks: int


@dataclass(slots=True)
class Tally:
    """The members of a batch by state, those that are `open`, and how fast they end.

    `ends` are the newest seconds in which some ended.

    `is_whole`: members that ended before we knew of the batch are counted too.
    """

    owner: str
    is_whole: bool
    open: int = 0
    counts: list[int] = field(default_factory=lambda: [0] * _STATES)
    failures: list[int] = field(default_factory=list)
    ends: deque[Ends] = field(default_factory=lambda: deque(maxlen=ENDS_KEPT))

    def rate(self, wall_ms: int) -> float | None:
        """Return how many members end in a second of late; None until that can be said.

        The oldest second that is kept begins the measure, so that slow tasks are seen over a long
        time and fast ones over a short one.
        """
        if len(self.ends) < 2:
            return None
        tasks = sum(each.tasks for each in self.ends) - self.ends[0].tasks
        return tasks / max(wall_ms / 1000 - (self.ends[0].second + 1), 1.0)


class Batches:
    """The tallies of batches, kept up with every move of a task."""

    def __init__(self) -> None:
        self._known: dict[int, Tally] = {}
        self._ended: OrderedDict[int, None] = OrderedDict()

    def get(self, batch: int) -> Tally | None:
        """Return what is known of a batch."""
        return self._known.get(batch)

    def open(self) -> dict[int, Tally]:
        """Return the batches with open tasks."""
        return {batch: each for batch, each in self._known.items() if batch not in self._ended}

    def recover(self, task: Task, ended_of: Callable[[int], EndedMembers]) -> None:
        """Take in one open member at a start, and with the first what had ended before."""
        tally = self._known.get(task.batch)
        if tally is None:
            ended = ended_of(task.batch)
            tally = Tally(task.spec.owner, is_whole=True, failures=list(ended.failures))
            self._known[task.batch] = tally
            for state, count in ended.counts.items():
                tally.counts[state] += count
        tally.counts[task.state] += 1
        tally.open += 1

    def add(self, batch: int, owner: str, members: int, *, is_first: bool) -> None:
        """Take in new members, all queued; `is_first`: nothing of the batch has ended yet."""
        tally = self._known.get(batch)
        if tally is None:
            tally = self._known[batch] = Tally(owner, is_whole=is_first)
        self._ended.pop(batch, None)
        tally.counts[State.QUEUED] += members
        tally.open += members

    def move(self, task: Task, before: State) -> None:
        """Follow a task into another state."""
        counts = self._known[task.batch].counts
        counts[before] -= 1
        counts[task.state] += 1

    def end(self, task: Task, wall_ms: int) -> None:
        """Note that a task has just ended."""
        tally = self._known[task.batch]
        tally.open -= 1
        second, ends = wall_ms // 1000, tally.ends
        if ends and ends[-1].second == second:
            ends[-1].tasks += 1
        else:
            ends.append(Ends(second, 1))
        if task.state is State.FAILED and len(tally.failures) < FAILURES_KEPT:
            tally.failures.append(task.id)
        if not tally.open:
            self._ended[task.batch] = None
            if len(self._ended) > ENDED_KEPT_MAX:
                del self._known[self._ended.popitem(last=False)[0]]
