"""Does a full disk stop the intake and nothing else, and does all go on by itself with room?"""

import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from remuda.config.home import Home
from remuda.config.keys import generate
from remuda.protocol import messages as m

from ..fakes.bad_disk import PROGRAM, wish
from ..fakes.raw import RawClient, RawScheduler, raw_scheduler, wait_for
from .test_scheduler_daemon import state_of, wait_state

pytestmark = pytest.mark.cluster
KIB, MIB = 1 << 10, 1 << 20
TMPFS_BYTES = 32 * MIB
SETTINGS = """
[scheduler]
ballast = "1MiB"
disk_free_min = "{floor}"
"""


class Tight:
    """A scheduler and the room that its disk has; `leave` sets it."""

    def __init__(self, scheduler: RawScheduler, leave: Callable[[int], None]) -> None:
        self.scheduler = scheduler
        self.leave = leave
        self.ballast = scheduler.home.scheduler_dir / "ballast"
        self._viewer: tuple[int, RawClient] | None = None

    def fill(self, client: RawClient, kib: int, **fields: Any) -> Any:
        """Submit tasks that take so much room."""
        args = [secrets.token_bytes(50 * KIB)] * (kib // 50)
        return client.submit(len(args), args=args, **fields)

    def problems(self) -> list[str]:
        control = self.scheduler.endpoints.control
        if self._viewer is None or self._viewer[0] != control:  # one for all looks: sockets count
            self._viewer = control, self.scheduler.client("vera")
        found: list[str] = self._viewer[1].ask(m.Status()).body["problems"]
        return found

    def wait_no_problem(self) -> None:
        wait_for(lambda: not self.problems(), "an end of the problems")


def wished(folder: Path, floor: str) -> Iterator[Tight]:
    """Make a disk of a wished size, below SQLite."""
    with raw_scheduler(folder, SETTINGS.format(floor=floor), PROGRAM) as scheduler:
        yield Tight(scheduler, lambda free: wish(scheduler.home.root, free_bytes=free))


def mounted(folder: Path, floor: str) -> Iterator[Tight]:
    """Mount a small file system, and fill it."""
    state = Home(folder).scheduler_dir
    state.mkdir(parents=True, mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES},mode=700", "tmpfs", str(state)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a tmpfs")

    def leave(free: int) -> None:
        filler = state / "filler"
        filler.unlink(missing_ok=True)
        found = os.statvfs(state)
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, found.f_bavail * found.f_frsize - free)

    try:
        with raw_scheduler(folder, SETTINGS.format(floor=floor)) as scheduler:
            yield Tight(scheduler, leave)
    finally:
        subprocess.run(["umount", "--lazy", str(state)], check=True)


DISKS = {"wished": wished, "mounted": mounted}


@pytest.fixture(params=DISKS)
def tight(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tight]:
    yield from DISKS[request.param](tmp_path, "0")


@pytest.fixture
def floored(tmp_path: Path) -> Iterator[Tight]:
    yield from wished(tmp_path, "8MiB")


def test_a_commit_that_finds_the_disk_full_is_done_with_the_ballasts_room(tight: Tight) -> None:
    alice = tight.scheduler.client("alice")
    assert tight.ballast.stat().st_size == MIB
    tight.leave(200 * KIB)
    answer = tight.fill(alice, 500)
    assert (10, False) == (answer.count, tight.ballast.exists())


def test_a_full_disk_stops_intake_and_grants_and_nothing_else(tight: Tight) -> None:
    alice, node = tight.scheduler.client("alice"), tight.scheduler.node("n1")
    node.register(cpus=1)
    (runs,) = alice.submit().tasks
    offer = node.hear(m.Offer)
    tight.leave(200 * KIB)
    key = secrets.token_bytes(16)
    first = tight.fill(alice, 500, submit_key=key)
    refused = alice.submit()
    assert isinstance(refused, m.Failure)
    assert ("disk_full", True) == (refused.code, refused.retry_after_ms > 0)
    assert first == tight.fill(alice, 500, submit_key=key), "a known frame is answered again"
    node.finish(offer)
    assert [runs] == node.hear(m.ResultAck).tasks
    reason = alice.ask(m.Explain(first.tasks[0])).body["reason"]
    assert "the scheduler holds: the disk of its state directory is full" == reason
    assert ["assigned" if task == runs else "queued" for task in first.tasks] == [
        state_of(alice, task) for task in first.tasks
    ]
    (problem,) = tight.problems()
    assert problem.startswith("the disk of the scheduler's state directory is full")
    assert "trouble" in tight.scheduler.log()


def test_all_goes_on_by_itself_once_there_is_room(tight: Tight) -> None:
    alice, node = tight.scheduler.client("alice"), tight.scheduler.node("n1")
    tight.leave(200 * KIB)
    (task, *_) = tight.fill(alice, 500).tasks
    node.register(cpus=1)
    tight.leave(900 * KIB)
    wait_for(tight.problems, "a problem")
    assert "disk_full" == alice.submit().code, "there is no room yet for a new ballast"
    tight.leave(8 * MIB)
    tight.wait_no_problem()
    assert (MIB, 1) == (tight.ballast.stat().st_size, len(alice.submit().tasks))
    offer = node.hear(m.Offer)
    assert [task] == offer.tasks
    node.finish(offer)
    wait_state(alice, task, "succeeded")


def test_a_start_on_a_full_disk_gives_up_the_ballast_and_begins_on_hold(tight: Tight) -> None:
    (task,) = tight.scheduler.client("alice").submit().tasks
    epoch = tight.scheduler.endpoints.epoch
    tight.scheduler.kill()
    tight.leave(0)
    tight.scheduler.start()
    alice, node = tight.scheduler.client("alice"), tight.scheduler.node("n1")
    node.register()
    assert tight.scheduler.endpoints.epoch > epoch
    assert "the scheduler holds" in alice.ask(m.Explain(task)).body["reason"]
    assert ("disk_full", False) == (alice.submit().code, tight.ballast.exists())
    tight.leave(8 * MIB)
    assert [task] == node.hear(m.Offer).tasks


def test_below_the_floor_no_task_is_taken_in_and_those_there_are_run(floored: Tight) -> None:
    alice, node = floored.scheduler.client("alice"), floored.scheduler.node("n1")
    (task,) = alice.submit().tasks
    floored.leave(6 * MIB)
    wait_for(floored.problems, "a problem")
    assert ("disk_full", True) == (alice.submit().code, floored.ballast.exists())
    node.register()
    offer = node.hear(m.Offer)
    node.finish(offer)
    assert [task] == node.hear(m.ResultAck).tasks
    floored.leave(9 * MIB)
    wait_for(lambda: "1" in floored.problems()[0], "another look")
    assert "disk_full" == alice.submit().code, "a quarter more than the floor must be free"
    floored.leave(11 * MIB)
    floored.wait_no_problem()
    assert 1 == len(alice.submit().tasks)


def test_without_any_room_left_the_scheduler_ends_and_answers_nobody(tmp_path: Path) -> None:
    scheduler = RawScheduler(tmp_path, SETTINGS.format(floor="0"), PROGRAM)
    try:
        scheduler.start()
        alice = scheduler.client("alice")
        wish(scheduler.home.root, free_bytes=0)
        key, args = secrets.token_bytes(16), [secrets.token_bytes(60 * KIB)] * 30
        alice.send_submit(30, submit_key=key, args=args)
        assert scheduler.process is not None
        assert 70 == scheduler.process.wait(60)
        assert not alice.socket.poll(0)
        wish(scheduler.home.root)
        scheduler.start()
        alice = scheduler.client("alice")
        assert {} == alice.ask(m.Status()).body["counts"]
        assert 30 == alice.submit(30, submit_key=key, args=args).count
    finally:
        scheduler.close()


def test_a_key_is_allowed_on_a_full_disk(tight: Tight) -> None:
    root = tight.scheduler.client("root")
    tight.leave(0)
    answer = root.ask(m.AllowKey("n3", "node", generate().public))
    assert isinstance(answer, m.Done), answer
    assert not tight.ballast.exists()
