"""Does the mirror, whatever breaks on the way, hold nothing that was not so, and in the end all?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remuda.protocol import ids, mirrored
from remuda.protocol import messages as m
from remuda.protocol.mirrored import Revision
from remuda.scheduler import mirror_rows
from remuda.scheduler.events import Event
from remuda.scheduler.mirror import HELD, Mirror
from remuda.scheduler.mirror_frames import TaskRow, pack
from remuda.scheduler.mirror_pipe import MirrorPipe
from remuda.scheduler.mirror_rows import Feed
from remuda.scheduler.records import Effects
from remuda.scheduler.task import State

from ...fakes.memory_redis import MemoryPipe, MemoryRedis
from ...fakes.viewed import SilentLog, view_of
from ...fakes.world import SECOND_NS, World

TENDS = 600
CALM_TENDS = 40  # of 0.1 s: a wiped server is noticed within that time


class MirroredWorld(World):
    """A world whose turns are told to a mirror, as the loop tells them."""

    def __init__(self, folder: Path, frames_max: int = 1_000) -> None:
        self.mirror: Mirror | None = None
        self.redis = MemoryRedis()
        self.pipe = MemoryPipe(self.redis, frames_max)
        self.known: list[int] = []
        self.past: list[dict[int, str]] = [{}]
        super().__init__(folder)
        redis = {"REMUDA_REDIS__URL": "redis://nowhere/0", "REMUDA_REDIS__RECONNECT_MAX": "1s"}
        self.view = view_of(self, folder, redis)
        wanted = self.view.loaded.settings.redis
        self.mirror = Mirror(self.view, wanted, "c", self.pipe, SilentLog())  # type: ignore[arg-type]  # it has what is used of it

    def step(self, *events: Event) -> Effects:
        effects = super().step(*events)
        if self.mirror is not None and (effects.commit or effects.changes):
            self.view.watches.rev += 1
            self.past.append({task: self.state(task) for task in self.known})
            self.mirror.tell(effects, self.now)
        return effects

    def submit(self, count: int = 1, **fields: object) -> list[int]:  # type: ignore[override]  # all of them are passed on
        first = self.view.watches.rev + 1
        tasks = super().submit(count, **fields)  # type: ignore[arg-type]  # as above
        self.known += tasks
        for states in self.past[first:]:
            states.update((task, self.state(task)) for task in tasks)
        return tasks

    def tend(self, seconds: float = 0.1) -> None:
        """Let time pass for the mirror and its process."""
        assert self.mirror is not None
        self.mono_ns += round(seconds * SECOND_NS)
        self.mirror.tend(self.now)
        self.pipe.run_process(self.mono_ns / SECOND_NS)

    def settle(self) -> None:
        """Heal everything and let the mirror come to rest."""
        self.pipe.is_clogged = self.redis.is_broken = self.redis.is_away = False
        calm = 0
        for _ in range(TENDS):
            self.tend()
            head = self.redis.head()
            is_up = head is not None and head.rev == self.view.watches.rev
            calm = calm + 1 if is_up and self.view.redis["state"] == "ok" else 0
            if calm == CALM_TENDS:
                return
        raise AssertionError(f"the mirror never came to rest: {self.view.redis}")

    def mirrored(self) -> dict[int, mirrored.MirroredTask]:
        """Read all tasks as a reader does that takes any revision."""
        ceiling = Revision(self.core.epoch, self.view.watches.rev)
        head = self.redis.head()
        if head is None:
            return {}
        mirrored.check_head(head, Revision(0, 0), ceiling)
        prefix = mirrored.line_prefix("c", head.epoch, head.line)
        found = {}
        for task in self.known:
            key = ids.to_bytes(task)
            if blob := self.redis.keys.get(mirrored.task_key(prefix, key), b""):
                found[task] = mirrored.read_task(blob, key, head, ceiling)
        return found

    def check(self) -> None:
        """Hold what a reader sees against what was so since the head's revision."""
        head = self.redis.head()
        for task, found in self.mirrored().items():
            assert head is not None
            since = [states.get(task) for states in self.past[head.rev :]]
            assert found.state in since, f"task {task} was never {found.state} since {head.rev}"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[MirroredWorld]:
    made = MirroredWorld(tmp_path / "state")
    yield made
    made.close()


def states(world: MirroredWorld) -> dict[int, str]:
    return {task: found.state for task, found in world.mirrored().items()}


def truth(world: MirroredWorld) -> dict[int, str]:
    return {task: world.state(task) for task in world.known}


OPS = ("submit", "submit", "start", "succeed", "fail", "cancel", "wait", "tend", "tend",
       "break", "away", "heal", "wipe", "clog", "die")  # fmt: skip


def do(world: MirroredWorld, op: str, pick: int) -> None:
    node = world.nodes["n1"]
    held = [task for (task, _), (_, phase) in node.held.items() if phase is not m.Phase.ENDED]
    task = held[pick % len(held)] if held else 0
    if op == "submit":
        world.submit(1 + pick % 3, retries=pick % 2)
    elif op == "start" and task:
        world.start(node, task)
    elif op == "succeed" and task:
        world.end(node, task)
    elif op == "fail" and task:
        world.end(node, task, m.Outcome.FAILED)
    elif op == "cancel" and world.known:
        world.cancel(world.known[pick % len(world.known)])
    elif op == "wait":
        world.later(1.0)
    elif op == "break":
        world.redis.is_broken = True
    elif op == "away":
        world.redis.is_broken = world.redis.is_away = True
    elif op == "heal":
        world.redis.is_broken = world.redis.is_away = world.pipe.is_clogged = False
    elif op == "wipe":
        world.redis.keys.clear()
    elif op == "clog":
        world.pipe.is_clogged = True
    elif op == "die":
        world.pipe.drop()
    world.tend()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(OPS), st.integers(0, 50)), max_size=50),
    st.integers(6, 12),
)
def test_whatever_breaks_the_mirror_shows_only_what_was_so_and_in_the_end_what_is(
    story: list[tuple[str, int]], frames_max: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = MirroredWorld(Path(folder) / "state", frames_max)
        try:
            world.node("n1", cpus=3)
            for op, pick in story:
                do(world, op, pick)
                world.check()
            world.settle()
            world.check()
            assert truth(world) == states(world)
        finally:
            world.close()


def test_an_overflow_of_the_pipe_is_dropped_counted_and_made_good(world: MirroredWorld) -> None:
    world.node("n1", cpus=1)
    before = world.submit(2)
    world.settle()
    world.pipe.is_clogged = True
    world.pipe.frames_max = 1
    missed = [task for _ in range(5) for task in world.submit(1)]
    assert (1, "resyncing") == (world.view.redis["overflows"], world.view.redis["state"])
    world.pipe.frames_max = 1_000
    world.settle()
    assert (2, {"assigned": 1, "queued": 6}) == (
        world.view.redis["line"],
        Counter(states(world).values()),
    )
    assert {*before, *missed} == states(world).keys()


def test_a_mirror_that_nobody_follows_is_told_nothing(world: MirroredWorld) -> None:
    world.redis.is_away = True
    world.submit(3)
    for _ in range(20):
        world.tend()
    assert ("down", {}) == (world.view.redis["state"], world.redis.keys)
    assert [
        "the Redis mirror is down (ConnectionError: refused): clients ask the scheduler instead"
    ] == [*world.view.problems.values()]
    world.settle()
    assert {} == world.view.problems
    assert truth(world) == states(world)


def test_a_process_that_keeps_dying_is_started_ever_more_seldom(world: MirroredWorld) -> None:
    for _ in range(100):
        world.tend(0.5)
        world.pipe.drop()
        world.submit(1)
    assert 3 <= world.pipe.starts <= 8  # after 1, 2, 4, 8, 16 and 30 s
    assert "down" == world.view.redis["state"]
    world.settle()
    assert truth(world) == states(world)


def test_a_restored_scheduler_tells_its_mirror_nothing_before_the_hold_ends(
    world: MirroredWorld,
) -> None:
    held: Any = object()  # what is undecided does not matter here
    world.core.recovery = held
    world.tend(60.0)
    assert (0, "starting", HELD) == (
        world.pipe.starts, world.view.redis["state"], world.view.redis["why"],
    )  # fmt: skip
    world.core.recovery = None
    world.submit(1)
    world.settle()
    assert (truth(world), "") == (states(world), world.view.redis["why"])


def test_a_process_that_says_nothing_is_replaced(world: MirroredWorld) -> None:
    world.submit(1)
    world.settle()
    world.pipe.is_clogged = True
    while world.pipe.starts == 1:
        world.tend(1.0)
    world.settle()
    assert (1, truth(world)) == (world.view.redis["restarts"], states(world))


def test_ended_tasks_are_told_anew_from_the_journal(world: MirroredWorld) -> None:
    node = world.node("n1", cpus=2)
    done, failed = world.submit(2)
    world.end(node, done)
    world.end(node, failed, m.Outcome.FAILED)
    world.settle()
    found = world.mirrored()
    assert [("succeeded", ""), ("failed", "exit_code")] == [
        (found[task].state, found[task].code) for task in (done, failed)
    ]
    assert all(each.ended_ms > each.created_ms >= 0 for each in found.values())


def test_the_last_ended_tasks_come_first_and_no_more_than_the_limit(
    world: MirroredWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = world.node("n1", cpus=8)
    tasks = world.submit(6)
    for task in tasks:
        world.later(1.0)
        world.end(node, task)
    monkeypatch.setattr(mirror_rows, "ENDED_FED_MAX", 4)
    feed = Feed(world.core.tasks, world.journal.catalogue)
    rows: list[TaskRow] = []
    while not feed.done:
        rows += feed.page(3)
    assert list(reversed(tasks[2:])) == [ids.from_bytes(row.id) for row in rows]


def test_old_ends_are_not_told_anew(world: MirroredWorld) -> None:
    node = world.node("n1")
    (old,) = world.submit(1)
    world.end(node, old)
    feed = Feed(world.core.tasks, world.journal.catalogue, world.now.wall_ms + 1)
    assert ([], []) == (feed.page(10), feed.page(10))
    assert feed.done


def test_a_task_back_from_its_backoff_is_told_though_nobody_watches(world: MirroredWorld) -> None:
    node = world.node("n1", cpus=1)
    (task,) = world.submit(1, retries=1)
    world.settle()
    world.end(node, task, m.Outcome.FAILED)
    world.settle()
    waiting = states(world)
    world.nodes["n1"].deaf = True
    world.later(400.0)
    world.settle()
    assert ({task: "waiting"}, truth(world)) == (waiting, states(world))
    assert State.WAITING.word != truth(world)[task]


# --- the pipe to a real process ------------------------------------------------------------------

DEAF = [sys.executable, "-c", "import time; time.sleep(600)"]
ECHO = [sys.executable, "-c", "import os\nwhile chunk := os.read(0, 999): os.write(1, chunk)"]
WAIT_S = 30.0


@pytest.fixture
def pipe(request: pytest.FixtureRequest) -> Iterator[MirrorPipe]:
    made = MirrorPipe(request.param)
    made.start()
    yield made
    made.close()


@pytest.mark.parametrize("pipe", [DEAF], indirect=True)
def test_a_pipe_that_nobody_reads_refuses_frames_and_never_waits(pipe: MirrorPipe) -> None:
    frame = pack("tasks", b"x" * 10_000)
    taken = 0
    while pipe.send(frame):
        taken += 1
    assert not pipe.send(frame)
    assert 0 < taken * len(frame) < 2 << 20
    assert pipe.backlog_bytes >= (taken - 1) * len(frame)


@pytest.mark.parametrize("pipe", [ECHO], indirect=True)
def test_frames_that_were_taken_in_part_arrive_whole(pipe: MirrorPipe) -> None:
    sent, back = 0, []
    ends = time.monotonic() + WAIT_S
    while sent < 200 or len(back) < sent:
        assert time.monotonic() < ends, f"{len(back)} of {sent} frames came back"
        if sent < 200 and pipe.send(pack("tasks", sent, b"x" * 50_000)):
            sent += 1
        else:
            pipe.send(b"")
        back += [frame[1] for frame in pipe.receive() or []]
    assert list(range(200)) == back


@pytest.mark.parametrize("pipe", [DEAF], indirect=True)
def test_a_frozen_process_is_dropped_and_leaves_no_zombie(pipe: MirrorPipe) -> None:
    pid = pipe.pid
    os.kill(pid, signal.SIGSTOP)
    pipe.close()
    assert (None, 0, False) == (pipe.receive(), pipe.pid, Path(f"/proc/{pid}").exists())


def test_the_process_ends_when_its_pipe_does() -> None:
    command = [sys.executable, "-P", "-m", "remuda.scheduler.mirror_process"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    out, _ = process.communicate(b"", WAIT_S)
    assert (0, b"") == (process.returncode, out)


def test_a_process_that_cannot_be_started_is_tried_again(world: MirroredWorld) -> None:
    def fail() -> None:
        raise OSError("Too many open files")

    world.pipe.start = fail  # type: ignore[method-assign]  # the failure is the point
    world.tend()
    assert "its process could not be started: Too many open files" == world.view.redis["why"]
    del world.pipe.start
    world.submit(1)
    world.settle()
    assert truth(world) == states(world)
