"""Two agents of one host never hold one card: locks between real processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from remuda.node import gpu_locks
from remuda.node.gpu_locks import Conflict, GpuLocks, Owner, lock_dir

UUID = "GPU-00000001-0000-0000-0000-000000000000"
AGENT = """
import sys
from pathlib import Path
from remuda.node import gpu_locks
from remuda.node.gpu_locks import GpuLocks
locks = GpuLocks(sys.argv[1], Path(sys.argv[2]))
print(locks.acquire(sys.argv[3]), flush=True)
sys.stdin.read()
"""


def start_agent(name: str, directory: Path) -> subprocess.Popen[str]:
    """Start another agent, and return once it has locked the GPU or failed to."""
    agent = subprocess.Popen(
        [sys.executable, "-c", AGENT, name, str(directory), UUID],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert agent.stdout is not None
    agent.said = agent.stdout.readline()  # type: ignore[attr-defined]
    return agent


def end(agent: subprocess.Popen[str]) -> None:
    agent.kill()
    agent.communicate()


def test_a_card_held_by_another_agent_is_refused_and_its_owner_named(tmp_path: Path) -> None:
    agent = start_agent("node-a", tmp_path)
    try:
        expected = Conflict(UUID, Owner("node-a", agent.pid))
        assert expected == GpuLocks("node-b", tmp_path).acquire(UUID)
        assert "'node-a'" in str(expected)
    finally:
        end(agent)


def test_a_killed_agent_holds_nothing(tmp_path: Path) -> None:
    end(start_agent("node-a", tmp_path))
    locks = GpuLocks("node-b", tmp_path)
    assert isinstance(locks.acquire(UUID), int)
    locks.close()


def test_a_card_stays_locked_while_a_process_that_inherited_it_lives(tmp_path: Path) -> None:
    first = GpuLocks("node-a", tmp_path)
    descriptor = first.acquire(UUID)
    assert isinstance(descriptor, int)
    runner = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=first.descriptors((UUID,)))
    first.close()
    second = GpuLocks("node-b", tmp_path)
    assert isinstance(second.acquire(UUID), Conflict)
    runner.communicate()
    assert isinstance(second.acquire(UUID), int)
    second.close()


def test_a_lock_is_inherited_only_on_request(tmp_path: Path) -> None:
    locks = GpuLocks("node-a", tmp_path)
    descriptor = locks.acquire(UUID)
    assert isinstance(descriptor, int)
    before = os.get_inheritable(descriptor)
    locks.set_inheritable(UUID, True)
    assert [before, os.get_inheritable(descriptor)] == [False, True]
    locks.close()


def test_acquiring_twice_gives_the_same_descriptor(tmp_path: Path) -> None:
    locks = GpuLocks("node-a", tmp_path)
    assert locks.acquire(UUID) == locks.acquire(UUID)
    locks.close()


def test_a_removed_lock_file_does_not_split_the_lock(tmp_path: Path) -> None:
    first = GpuLocks("node-a", tmp_path)
    first.acquire(UUID)
    assert frozenset({UUID}) == first.held
    first.release(UUID)
    (tmp_path / f"{UUID}.lock").unlink()
    second = GpuLocks("node-b", tmp_path)
    assert isinstance(second.acquire(UUID), int)
    assert isinstance(first.acquire(UUID), Conflict)
    second.close()


def test_a_lock_file_with_garbage_still_locks(tmp_path: Path) -> None:
    first = GpuLocks("node-a", tmp_path)
    first.acquire(UUID)
    (tmp_path / f"{UUID}.lock").write_bytes(b"\xff" * 9000)
    assert Conflict(UUID, Owner("unknown", 0)) == GpuLocks("node-b", tmp_path).acquire(UUID)
    first.close()


@pytest.mark.parametrize("uuid", ["", "../escape", "GPU/0", "GPU 0"])
def test_what_is_no_uuid_names_no_file(tmp_path: Path, uuid: str) -> None:
    with pytest.raises(ValueError, match="no GPU UUID"):
        GpuLocks("node-a", tmp_path).acquire(uuid)


def test_a_chosen_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PermissionError, match="lock_dir"):
        GpuLocks("node-a", tmp_path / "absent" / "deep")


def test_the_default_directory_can_be_written() -> None:
    assert os.access(lock_dir(), os.W_OK)


def test_a_lock_on_a_file_that_was_removed_meanwhile_is_no_lock(tmp_path: Path) -> None:
    path = tmp_path / f"{UUID}.lock"
    descriptor = gpu_locks._open(path)
    path.unlink()
    gone = gpu_locks._is_current(descriptor, path)
    path.touch()
    assert (gone, gpu_locks._is_current(descriptor, path)) == (False, False)
    os.close(descriptor)
