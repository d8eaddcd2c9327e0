"""Is what the scheduler made durable a possible history? Each turn is judged as it comes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from remuda.protocol import ids
from remuda.scheduler.records import AttemptEnded, Change, Commit, TaskResult
from remuda.scheduler.task import TERMINAL, State

EXCUSED = "charged to nothing"


class Tried(NamedTuple):
    """An attempt that was granted, and how it ended so far: `outcome` is empty while it lives."""

    node: str
    granted_ns: int
    outcome: str = ""
    ended_ns: int = 0


@dataclass(slots=True)
class Commits:
    """All that was committed and told, by task; it outlives the scheduler's process.

    `excuses` are tries that failed and were charged to nothing, `refunds` charges that were taken
    back: with `excuses_max` there are at most so many of each.
    """

    known: set[int] = field(default_factory=set)
    newest: dict[int, int] = field(default_factory=dict)
    open: dict[int, tuple[int, str]] = field(default_factory=dict)
    ended: dict[int, State] = field(default_factory=dict)
    successes: dict[int, int] = field(default_factory=dict)
    told: dict[int, State] = field(default_factory=dict)
    tried: dict[tuple[bytes, int], Tried] = field(default_factory=dict)
    excuses: Counter[int] = field(default_factory=Counter)
    refunds: Counter[int] = field(default_factory=Counter)
    charged: dict[int, int] = field(default_factory=dict)
    excuses_max: int = 0

    def take(self, commit: Commit, at_ns: int = 0) -> list[str]:
        """Judge what one turn made durable."""
        return list(self._take(commit, at_ns))

    def tell(self, changes: Iterable[Change]) -> list[str]:
        """Judge what one turn told its watchers, after the commit."""
        return [words for change in changes for words in self._tell(change)]

    def _take(self, commit: Commit, at_ns: int) -> Iterator[str]:
        for row in commit.tasks:
            if row.id in self.known:
                yield f"I1 task {row.number} was stored twice"
            self.known.add(row.id)
        # What is adopted after a restore may end in the same turn.
        granted = {(row.task, row.number) for row in commit.granted}
        at_once = [row for row in commit.ended if (row.task, row.number) in granted]
        for ended in commit.ended:
            if ended not in at_once:
                yield from self._end_attempt(ended, at_ns)
        yield from self._grant(commit, at_ns)
        for ended in at_once:
            yield from self._end_attempt(ended, at_ns)
        for result in commit.results:
            yield from self._end_task(result)
        for task, moved in commit.moved.items():
            if task in self.ended:
                yield f"I2 {_name(task)} moved after its end"
            yield from self._refund(task, moved.charged)

    def _refund(self, task: int, charged: int) -> Iterator[str]:
        """I14: what is given back was taken before, and is given back a bounded number of times."""
        before = self.charged.get(task, 0)
        self.charged[task] = charged
        self.refunds[task] += max(0, before - charged)
        if charged < 0:
            yield f"I14 {_name(task)} is charged {charged} tries"
        if self.excuses_max and self.refunds[task] > self.excuses_max:
            yield f"I14 {_name(task)} was given back {self.refunds[task]} tries"

    def _end_attempt(self, row: AttemptEnded, at_ns: int) -> Iterator[str]:
        if row.outcome == "superseded":
            return
        expected = self.open.pop(row.task, None)
        if (row.number, row.node) != expected:
            yield f"I3 {row} ended, open was {expected}"
        if row.outcome == "succeeded":
            self.successes[row.task] = self.successes.get(row.task, 0) + 1
            if self.successes[row.task] > 1:
                yield f"I2 {_name(row.task)} succeeded twice"
        if row.outcome == "failed" and row.message.endswith(EXCUSED):
            self.excuses[row.task] += 1
            if self.excuses_max and self.excuses[row.task] > self.excuses_max:
                yield f"I14 {_name(row.task)} was excused {self.excuses[row.task]} times"
        key = ids.to_bytes(row.task), row.number
        if key in self.tried:
            self.tried[key] = self.tried[key]._replace(outcome=row.outcome, ended_ns=at_ns)

    def _grant(self, commit: Commit, at_ns: int) -> Iterator[str]:
        for row in commit.granted:
            if row.task not in self.known:
                yield f"I1 an attempt of {_name(row.task)} was granted, which is not stored"
            if row.task in self.ended:
                yield f"I2 an attempt of {_name(row.task)} was granted after its end"
            if row.task in self.open:
                yield f"I3 two attempts of {_name(row.task)} live"
            if row.number <= self.newest.get(row.task, 0):
                yield f"I3 attempt {row.number} of {_name(row.task)} does not grow"
            self.newest[row.task] = row.number
            self.open[row.task] = row.number, row.node
            self.tried[ids.to_bytes(row.task), row.number] = Tried(row.node, at_ns)

    def _end_task(self, row: TaskResult) -> Iterator[str]:
        if row.id in self.ended:
            yield f"I2 {_name(row.id)} ended twice"
        if row.id in self.open:
            yield f"I3 {_name(row.id)} ended while an attempt lives"
        if row.state not in TERMINAL:
            yield f"I2 {_name(row.id)} has a result and is {State(row.state).word}"
        self.ended[row.id] = State(row.state)
        if (row.state == State.SUCCEEDED) != (row.id in self.successes):
            yield f"I2 {_name(row.id)} is {State(row.state).word} against its attempts"

    def _tell(self, change: Change) -> Iterator[str]:
        if change.task in self.told:
            yield f"I2 news of {_name(change.task)} after its end"
        if change.state in TERMINAL:
            if State(change.state) != self.ended.get(change.task):
                yield f"I2 {_name(change.task)} was told to be {State(change.state).word}"
            self.told[change.task] = State(change.state)


def _name(task: int) -> str:
    return ids.format_id(task)
