"""What of the scheduler's state the mirror is told: rows of tasks, of nodes, and the counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from ..protocol.ids import to_bytes
from .catalogue import Catalogue
from .events import Now
from .fleet import Node
from .mirror_frames import TaskRow
from .node_rows import node_row
from .records import Effects
from .task import TERMINAL, Task
from .watch import WORDS

ENDED_FED_MAX = 20_000
_TERMINAL = frozenset(int(state) for state in TERMINAL)
_NODE_FIELDS = ("name", "state", "cpus_milli", "cpus_used_milli", "memory_bytes",
                "memory_used_bytes", "running", "backlog", "seen_ms")  # fmt: skip


def changed_rows(effects: Effects, live: Mapping[int, Task], wall_ms: int) -> list[TaskRow]:
    """Return one row for each task that a turn touched: where it stands after it.

    Whatever moved a task is in the commit or among the changes, so no move can be missed.
    """
    commit = effects.commit
    told = {change.task: change for change in effects.changes}
    touched: dict[int, None] = dict.fromkeys(row.id for row in commit.tasks)
    touched.update(dict.fromkeys(commit.moved))
    touched.update(dict.fromkeys(row.task for row in commit.granted))
    touched.update(dict.fromkeys(told))
    rows = []
    for task_id in touched:
        change, task = told.get(task_id), live.get(task_id)
        if change is not None and change.state in _TERMINAL:
            rows.append(
                TaskRow(
                    to_bytes(task_id), WORDS[change.state], change.code, change.attempt,
                    change.node, wall_ms,
                )
            )  # fmt: skip
        elif task is not None:
            rows.append(_live_row(task, change.code if change else ""))
    return rows


def _live_row(task: Task, code: str = "") -> TaskRow:
    node = task.live.node if task.live else ""
    return TaskRow(to_bytes(task.id), task.state.word, code, task.attempt, node, 0)


class Feed:
    """Pages through all tasks that the mirror should hold: those that live, then the last ended.

    What changes meanwhile is told by its turn, through the same pipe and so in order.
    """

    def __init__(
        self, live: Mapping[int, Task], catalogue: Catalogue | None = None, ended_after_ms: int = 0
    ) -> None:
        self._live = live
        self._ids: Iterator[int] = iter(list(live))
        self._catalogue = catalogue
        self._ended_after_ms = ended_after_ms
        self._below = (1 << 62, b"")
        self._ended_left = ENDED_FED_MAX if catalogue is not None else 0
        self.done = False

    def page(self, limit: int) -> list[TaskRow]:
        """Return the next rows; after the last ones `done` is set."""
        ids = list(islice(self._ids, limit))
        if ids:
            return [_live_row(task) for each in ids if (task := self._live.get(each)) is not None]
        return self._ended_page(limit)

    def _ended_page(self, limit: int) -> list[TaskRow]:
        if self._catalogue is None or self._ended_left <= 0:
            self.done = True
            return []
        found = self._catalogue.ended_before(*self._below, min(limit, self._ended_left))
        rows = [
            TaskRow(to_bytes(row["id"]), WORDS[row["state"]], row["code"], row["attempt"],
                    row["node"], row["ended_ms"])
            for row in found
            if row["ended_ms"] >= self._ended_after_ms
        ]  # fmt: skip
        self._ended_left -= len(rows)
        self.done = len(rows) < limit
        if found:
            self._below = (found[-1]["ended_ms"], to_bytes(found[-1]["id"]))
        return rows


def node_fields(nodes: Iterable[Node], now: Now, suspect_after_s: float) -> list[dict[str, Any]]:
    """Write nodes in short."""
    rows = (node_row(node, now, suspect_after_s) for node in nodes)
    return [{name: row[name] for name in _NODE_FIELDS} | {"gpus": len(row["gpus"])} for row in rows]
