"""What is counted of the scheduler's turns for its metrics?

Every number of labels has a bound. Counters begin anew with each start of the scheduler, as their
readers expect.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from .metrics_table import LONG_S, SHORT_S, Rows
from .records import AttemptEnded, AttemptGranted, Effects
from .task import State, Task

OTHER = "other"
CODES_MAX = 100
KIND_CHARS_MAX = 100
_CHECKSUM = re.compile(r" [0-9a-f]{8}(?= |$)")
_RAN = frozenset({"succeeded", "failed", "killed"})
_TRIED = frozenset({"failed", "killed", "lost"})
_NS, _MS, _US = 1e9, 1e3, 1e6


class Histogram:
    """Counts values by buckets; the last one has what is above all bounds."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value


class Labels:
    """Gives the first so many names a label of their own; all later ones are `other`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[str, str] = {}

    def of(self, name: str) -> str:
        label = self._known.get(name)
        if label is not None:
            return label
        if len(self._known) >= self._most:
            return OTHER
        self._known[name] = label = shown(name)
        return label


def shown(kind: str) -> str:
    """Write a kind of tasks so that commands that differ in later arguments alone are one."""
    text = _CHECKSUM.sub("", kind, count=1) if kind.startswith("command ") else kind
    return text[:KIND_CHARS_MAX]


class Meter:
    """Takes in each turn; `rows` is what it comes to."""

    def __init__(self, kinds_max: int, tasks: Mapping[int, Task]) -> None:
        self._kinds, self._codes = Labels(kinds_max), Labels(CODES_MAX)
        self._tasks = tasks
        self._on_nodes = {task.id: self._kind(task) for task in tasks.values() if task.live}
        self.submitted: Counter[tuple[str]] = Counter()
        self.finished: Counter[tuple[str, str]] = Counter()
        self.attempts: Counter[tuple[str, str]] = Counter()
        self.retries: Counter[tuple[str]] = Counter()
        self.waits: dict[tuple[str], Histogram] = {}
        self.runs: dict[tuple[str], Histogram] = {}
        self.dispatch, self.step = Histogram(SHORT_S), Histogram(SHORT_S)
        self.commit, self.turn = Histogram(SHORT_S), Histogram(SHORT_S)

    def took(self, effects: Effects) -> None:
        """Take in what a turn brought, after it was committed."""
        commit = effects.commit
        if commit.tasks:
            self._submitted(commit.tasks)
        if commit.ended:
            self._ended(commit.ended, {row.id for row in commit.results})
        if commit.granted:
            self._granted(commit.granted)
        for change in effects.changes:
            task = self._tasks.get(change.task) if change.state == State.RUNNING else None
            if task is not None and task.live is not None:
                taken_ns = task.live.started_ns - task.live.offered_ns
                self.dispatch.observe(max(taken_ns, 0) / _NS)
        for row in commit.results:
            self.finished[State(row.state).word, self._codes.of(row.code)] += 1

    def _submitted(self, rows: Iterable[Any]) -> None:
        """Count by spec: a frame of thousands has few of them."""
        first = {row.spec_id: row.id for row in rows}
        for spec_id, count in Counter(row.spec_id for row in rows).items():
            task = self._tasks.get(first[spec_id])
            self.submitted[(self._kind(task) if task else OTHER,)] += count

    def _granted(self, rows: Iterable[AttemptGranted]) -> None:
        for row in rows:
            task = self._tasks.get(row.task)
            if task is None or task.live is None:
                continue
            kind = self._on_nodes[row.task] = self._kind(task)
            if not task.has_begun:
                waited_ms = max(row.granted_ms - task.created_ms, 0)
                _observe(self.waits, kind, waited_ms / _MS)

    def _ended(self, rows: Iterable[AttemptEnded], over: set[int]) -> None:
        for row in rows:
            code = self._codes.of(row.code)
            self.attempts[row.outcome, code] += 1
            if row.outcome == "superseded":  # of a try that had been given up
                continue
            kind = self._on_nodes.pop(row.task, OTHER)
            if row.outcome in _RAN and row.run_us > 0:
                _observe(self.runs, kind, row.run_us / _US)
            if row.outcome in _TRIED and row.task not in over:
                self.retries[(code,)] += 1

    def _kind(self, task: Task) -> str:
        return self._kinds.of(task.spec.kind)

    def rows(self) -> dict[str, Rows]:
        """Return the rows of each family that is counted here (see `metrics_table.py`)."""
        return {
            "tasks_submitted_total": _counted(self.submitted),
            "tasks_finished_total": _counted(self.finished),
            "attempts_finished_total": _counted(self.attempts),
            "task_retries_total": _counted(self.retries),
            "task_wait_seconds": _spread(self.waits),
            "task_run_seconds": _spread(self.runs),
            "dispatch_seconds": _spread({(): self.dispatch}),
            "step_seconds": _spread({(): self.step}),
            "commit_seconds": _spread({(): self.commit}),
            "turn_seconds": _spread({(): self.turn}),
        }


def _observe(histograms: dict[tuple[str], Histogram], kind: str, seconds: float) -> None:
    known = histograms.get((kind,))
    if known is None:
        known = histograms[(kind,)] = Histogram(LONG_S)
    known.observe(seconds)


def _counted(counter: Mapping[Any, int]) -> Rows:
    return [[list(labels), count] for labels, count in counter.items()]


def _spread(histograms: Mapping[Any, Histogram]) -> Rows:
    return [[list(labels), each.counts, each.sum] for labels, each in histograms.items()]
