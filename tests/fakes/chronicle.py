"""Is what the scheduler made durable a possible history? Each turn is checked as it comes."""

from __future__ import annotations

from dataclasses import dataclass, field

from remuda.scheduler.records import AttemptEnded, Change, Commit, Effects, TaskResult
from remuda.scheduler.task import TERMINAL, State


@dataclass(slots=True)
class Chronicle:
    """All that was committed and told, by task; it outlives the scheduler's process."""

    known: set[int] = field(default_factory=set)
    newest: dict[int, int] = field(default_factory=dict)
    open: dict[int, tuple[int, str]] = field(default_factory=dict)
    ended: dict[int, State] = field(default_factory=dict)
    successes: dict[int, int] = field(default_factory=dict)
    told: dict[int, State] = field(default_factory=dict)

    def take(self, effects: Effects) -> None:
        """Check one turn: what it ended was open, what it granted is new, what has ended rests."""
        commit = effects.commit
        for row in commit.tasks:
            assert row.id not in self.known, f"task {row.number} was stored twice"
            self.known.add(row.id)
        for ended in commit.ended:
            self._end_attempt(ended)
        self._grant(commit)
        for result in commit.results:
            self._end_task(result)
        for task in commit.moved:
            assert task not in self.ended, f"task {task} moved after its end"
        for change in effects.changes:
            self._tell(change)

    def _end_attempt(self, row: AttemptEnded) -> None:
        if row.outcome == "superseded":
            return
        expected = self.open.pop(row.task, None)
        assert (row.number, row.node) == expected, f"{row} ended, open was {expected}"
        if row.outcome == "succeeded":
            self.successes[row.task] = self.successes.get(row.task, 0) + 1
            assert self.successes[row.task] == 1, f"task {row.task} succeeded twice"

    def _grant(self, commit: Commit) -> None:
        for row in commit.granted:
            assert row.task in self.known
            assert row.task not in self.ended, f"an attempt of ended task {row.task} was granted"
            assert row.task not in self.open, f"two attempts of task {row.task} live"
            assert row.number > self.newest.get(row.task, 0), "attempt numbers must grow"
            self.newest[row.task] = row.number
            self.open[row.task] = row.number, row.node

    def _end_task(self, row: TaskResult) -> None:
        assert row.id not in self.ended, f"task {row.id} ended twice"
        assert row.id not in self.open, f"task {row.id} ended while an attempt lives"
        self.ended[row.id] = State(row.state)
        assert row.state in TERMINAL
        assert (row.state == State.SUCCEEDED) == (row.id in self.successes)

    def _tell(self, change: Change) -> None:
        assert change.task not in self.told, f"news of task {change.task} after its end"
        if change.state in TERMINAL:
            assert State(change.state) == self.ended[change.task]
            self.told[change.task] = State(change.state)
