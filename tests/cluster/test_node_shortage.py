"""Does a node without room or descriptors refuse what it cannot begin, and keep what it has?"""

import fcntl
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from remuda.node import link
from remuda.protocol import codec
from remuda.protocol import messages as m
from remuda.protocol.messages import Outcome

from ..fakes.node_driver import FakeScheduler, NodeUnderTest, call_args, document, new_task, node

pytestmark = pytest.mark.cluster
KIB, MIB = 1 << 10, 1 << 20
CODE = "def double(number):\n    return 2 * number\n"
WAITS = "while [ ! -e {0} ]; do sleep 0.02; done"


class Small:
    """A node whose state directory is on a disk of 24 MiB; `leave` says how much is free."""

    def __init__(self, scheduler: FakeScheduler, under_test: NodeUnderTest, state: Path) -> None:
        self.scheduler = scheduler
        self.node = under_test
        self.state = state

    def leave(self, free: int) -> None:
        """Fill the disk but for so much, once nothing more is given back there."""
        self.scheduler.wait(
            lambda: not any(map(_has_content, self.state.glob("runners/*/spool.*")))
        )
        self.scheduler.wait(lambda: not list(self.state.glob("runners/*/a/*/result.json")))
        filler = self.state / "filler"
        filler.unlink(missing_ok=True)
        found = os.statvfs(self.state)
        size = found.f_bavail * found.f_frsize - free
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)

    def command(self, line: str) -> bytes:
        task = new_task()
        self.scheduler.offer(document(kind="command", argv=["sh", "-c", line]), task)
        return task

    def call(self, number: int) -> bytes:
        task = new_task()
        spec = document(kind="function", target="project:double")
        self.scheduler.offer(spec, task, args=[call_args(number)])
        return task

    def wait_refused(self, task: bytes) -> str:
        reject = self.scheduler.wait_for(m.Reject, task)
        return reject.reasons[reject.tasks.index(task)]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    state = tmp_path / "state"
    state.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs", str(state)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a tmpfs")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "project.py").write_text(CODE)
    config = f'state_dir = "{state}"\npython_path = ["{tmp_path / "lib"}"]\n'
    try:
        with node(tmp_path, config) as (scheduler, under_test):
            yield Small(scheduler, under_test, state)
    finally:
        subprocess.run(["umount", "--lazy", str(state)], check=True)


def test_a_full_disk_refuses_commands_and_new_workers_and_lets_them_in_again(small: Small) -> None:
    small.leave(0)
    for task in (small.command("true"), small.call(1)):
        assert "No space left on device" in small.wait_refused(task)
    small.leave(4 * MIB)
    task, called = small.command("echo again"), small.call(21)
    assert b"again\n" == small.scheduler.result(task)["out"]
    assert 42 == small.scheduler.result(called)["value"]


def test_calls_to_a_warm_worker_are_refused_one_by_one_and_it_serves_on(small: Small) -> None:
    assert 2 == small.scheduler.result(small.call(1))["value"]
    small.leave(0)
    _fill_last_blocks(small.state / "runners")
    assert "No space left on device" in small.wait_refused(small.call(2))
    small.leave(4 * MIB)
    assert 6 == small.scheduler.result(small.call(3))["value"]


def test_a_command_that_finds_no_room_for_its_directory_fails_with_disk_full(small: Small) -> None:
    small.scheduler.result(small.command("true"))
    small.leave(0)  # the list of grants has room in its last block, a new directory's files do not
    result = small.scheduler.result(small.command("true"))
    assert (Outcome.FAILED, "disk_full") == (result["outcome"], result["code"])
    assert "No space left on device" in result["message"]


def test_what_runs_when_the_disk_fills_ends_with_its_code_and_the_end_of_its_output(
    small: Small, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    line = WAITS.format(gate) + "; head -c 3000000 /dev/zero | tr '\\0' x; echo; echo end; exit 7"
    task = small.command(line)
    small.scheduler.wait_for(m.Started, task)
    small.leave(0)
    gate.touch()
    result = small.scheduler.result(task)
    assert (Outcome.FAILED, 7, 3_000_005) == (
        result["outcome"], result["exit_code"], result["out_bytes"],
    )  # fmt: skip
    assert result["out_tail"].endswith(b"x\nend\n")


def test_a_full_disk_is_told_with_the_heartbeats_until_there_is_room(small: Small) -> None:
    small.scheduler.wait(lambda: _alarms(small.scheduler))
    assert "less than 64MiB are free" in _alarms(small.scheduler)[0]


def _has_content(path: Path) -> bool:
    return path.stat().st_size > 0


def _alarms(scheduler: FakeScheduler) -> list[str]:
    """Return the alarms of the newest statement."""
    said = [beat.capabilities for beat in scheduler.all_of(m.Heartbeat) if beat.capabilities]
    return said[-1]["alarms"] if said else []


def _fill_last_blocks(runners: Path) -> None:
    """Take the room that the lists of grants have in their last blocks."""
    for path in runners.glob("*/grants"):
        with path.open("ab") as file:
            file.write(bytes(-path.stat().st_size % 4096))


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[tuple[FakeScheduler, NodeUnderTest, Callable[[int], None]]]:
    with node(tmp_path) as (scheduler, under_test):
        pid = under_test.process.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)

        def leave(free: int) -> None:
            """Let the agent open so many descriptors more than it has."""
            used = {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}
            numbers = (number for number in range(1 << 16) if number not in used)
            limit = next(number for at, number in enumerate(numbers) if at == free)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, hard))

        yield scheduler, under_test, leave
        assert under_test.process.poll() is None, under_test.log.read_text()


def test_without_descriptors_a_node_refuses_what_it_cannot_start_and_keeps_what_runs(
    limited: tuple[FakeScheduler, NodeUnderTest, Callable[[int], None]], tmp_path: Path
) -> None:
    scheduler, under_test, leave = limited
    gate, before, refused, after = tmp_path / "gate", new_task(), new_task(), new_task()
    argv = ["sh", "-c", WAITS.format(gate) + "; echo kept"]
    scheduler.offer(document(kind="command", argv=argv), before)
    scheduler.wait_for(m.Started, before)
    leave(0)
    scheduler.offer(document(kind="command", argv=["true"]), refused)
    assert "Too many open files" in scheduler.wait_for(m.Reject, refused).reasons[0]
    scheduler.wait(lambda: any("file descriptors" in alarm for alarm in _alarms(scheduler)))
    leave(1 << 10)
    scheduler.offer(document(kind="command", argv=["echo", "well"]), after)
    assert b"well\n" == scheduler.result(after)["out"]
    gate.touch()
    assert b"kept\n" == scheduler.result(before)["out"]
    scheduler.wait(lambda: not _alarms(scheduler))
    assert "trouble is over" in under_test.log.read_text()


def test_a_node_without_descriptors_registers_again_once_it_has_some(
    limited: tuple[FakeScheduler, NodeUnderTest, Callable[[int], None]],
) -> None:
    scheduler, under_test, leave = limited

    def has_tried() -> bool:
        leave(0)  # each time: what a probe had open for a moment is free when it ends
        scheduler.epoch += 1
        beacon = codec.encode(m.Beacon("test", 0, 50), scheduler.epoch)
        scheduler.sockets["beacon"].send(beacon)
        said = under_test.log.read_text()
        return any(text in said for text in ("no more sockets", "Too many open files"))

    scheduler.wait(has_tried)
    seen = len(scheduler.registers)
    leave(1 << 10)
    again = scheduler.wait(lambda: scheduler.registers[seen:])
    assert under_test.process.poll() is None, again


def test_a_runner_that_cannot_be_looked_at_is_not_taken_for_dead(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with (tmp_path / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lowest_free = os.dup(0)
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
        try:
            lives = link.is_alive(tmp_path)
            with pytest.raises(link.LinkNotReady):
                link.Link.attach(tmp_path)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert lives, "its tree would be killed"
