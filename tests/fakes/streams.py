"""Small tasks that never cease, as they come to a fleet on which something large waits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .world import GIB, SECOND_NS, SimNode, World

SMALL: dict[str, Any] = {"vram_bytes": 4 * GIB, "cpus_milli": 500, "argv": ["small"]}
BEATS_S = 3
"""Nodes are heard so often: before they count as silent."""


class Stream:
    """At any time `depth` small tasks wait; each runs for one of `run_s`, in turn."""

    def __init__(self, world: World, run_s: Sequence[int], depth: int = 6, **small: Any) -> None:
        self.world = world
        self.run_s = run_s
        self.depth = depth
        self.small = SMALL | small
        self.own_s: dict[int, int] = {}
        self._over: dict[int, tuple[int, int]] = {}
        self._waiting: list[int] = []
        self._count = 0
        self._seconds = 0

    def run(self, task: int, seconds: int) -> None:
        """Have one task run for so long, whatever the others do."""
        self.own_s[task] = seconds

    def second(self) -> None:
        """Let a second pass: what is over ends, and as much comes in."""
        world = self.world
        for node, task in list(self._held()):
            if task not in self._over:
                self._count += 1
                run_s = self.own_s.get(task, self.run_s[self._count % len(self.run_s)])
                self._over[task] = world.mono_ns + run_s * SECOND_NS, run_s
                world.start(node, task)
            over_ns, run_s = self._over[task]
            if over_ns <= world.mono_ns:
                world.end(node, task, run_us=run_s * 1_000_000)
        self._waiting = [task for task in self._waiting if world.state(task) == "queued"]
        lacking = self.depth - len(self._waiting)
        if lacking > 0:
            self._waiting += self._submit(lacking)
        self._seconds += 1
        if self._seconds % BEATS_S:
            world.later(1)
        else:
            world.keep_alive(1, *world.nodes.values())

    def seconds(self, count: int) -> None:
        for _ in range(count):
            self.second()

    def until_begun(self, task: int, within_s: int) -> int | None:
        """Return after how many seconds a task begins, if it does in time."""
        for second in range(within_s):
            if self.world.state(task) != "queued":
                return second
            self.second()
        return None

    def _held(self) -> Iterator[tuple[SimNode, int]]:
        for node in self.world.nodes.values():
            for task, _ in list(node.held):
                yield node, task

    def _submit(self, count: int) -> list[int]:
        return self.world.submit(count, **self.small)


class StrangeStream(Stream):
    """Nobody knows how long its tasks run: no two are of one kind."""

    _named = 0

    def _submit(self, count: int) -> list[int]:
        found = []
        for _ in range(count):
            self._named += 1
            found += self.world.submit(**{**self.small, "argv": ["strange", str(self._named)]})
        return found
