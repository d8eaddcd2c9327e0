"""How is a GPU kept from two agents of one host: one locked file per UUID."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path

SHARED_LOCK_DIR = Path("/run/lock/remuda")
OWNER_BYTES_MAX = 4096
# Agents of several users meet in one directory, and must be able to read and lock each
# other's files there; the sticky bit keeps them from removing them.
DIRECTORY_MODE = 0o1777
FILE_MODE = 0o666


@dataclass(frozen=True, slots=True)
class Owner:
    """Name who holds a lock, as far as its file tells."""

    node: str
    pid: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """Tell that a GPU is locked by somebody else, perhaps a runner of our own former agent."""

    uuid: str
    owner: Owner

    def __str__(self) -> str:
        return (
            f"GPU {self.uuid} is held by node {self.owner.node!r} (pid {self.owner.pid}) of this "
            "host: give each node its own cards with [node] gpus, or stop the other one"
        )


class GpuLocks:
    """Hold the locks of one agent.

    A lock belongs to the open file, so a runner that inherits the descriptor keeps it locked
    after the agent's death, until its occupant is gone and it closes it.
    """

    def __init__(self, node: str, directory: Path | None = None) -> None:
        self._node = node
        self._directory = lock_dir(directory or SHARED_LOCK_DIR)
        self._held: dict[str, int] = {}

    def acquire(self, uuid: str) -> int | Conflict:
        """Lock a GPU and return its descriptor, the same one when it is held already."""
        if uuid in self._held:
            return self._held[uuid]
        path = self._path(uuid)
        while True:
            descriptor = _open(path)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                conflict = Conflict(uuid, _read_owner(descriptor))
                os.close(descriptor)
                return conflict
            if _is_current(descriptor, path):
                break
            os.close(descriptor)  # a cleaner removed the file between open and lock
        _write_owner(descriptor, Owner(self._node, os.getpid()))
        self._held[uuid] = descriptor
        return descriptor

    def adopt(self, uuid: str, descriptor: int) -> None:
        """Take over a locked descriptor that a runner of ours has kept and sent."""
        if uuid in self._held:
            os.close(descriptor)
        else:
            self._held[uuid] = descriptor

    def descriptors(self, uuids: tuple[str, ...]) -> tuple[int, ...]:
        """Return the held descriptors of these GPUs, to be passed on to a runner."""
        return tuple(self._held[uuid] for uuid in uuids)

    def set_inheritable(self, uuid: str, inheritable: bool) -> None:
        """Let, or no longer let, processes started from here inherit one lock."""
        os.set_inheritable(self._held[uuid], inheritable)

    @property
    def held(self) -> frozenset[str]:
        """Return the UUIDs that this agent holds."""
        return frozenset(self._held)

    def release(self, uuid: str) -> None:
        """Close the agent's descriptor; a runner that has one keeps the GPU locked."""
        descriptor = self._held.pop(uuid, None)
        if descriptor is not None:
            os.close(descriptor)

    def close(self) -> None:
        """Give up every lock of the agent."""
        for uuid in list(self._held):
            self.release(uuid)

    def _path(self, uuid: str) -> Path:
        if not uuid or not all(mark.isalnum() or mark in "-_" for mark in uuid):
            raise ValueError(f"{uuid!r} is no GPU UUID")
        return self._directory / f"{uuid}.lock"


def lock_dir(wanted: Path = SHARED_LOCK_DIR) -> Path:
    """Return a directory for locks, made if need be: this user's own where the host's is closed.

    Raises PermissionError when neither, or a directory that was chosen, can be written.
    """
    private = Path(f"/tmp/remuda-locks-{os.getuid()}")  # noqa: S108 - ownership is checked
    if _usable(wanted, DIRECTORY_MODE):
        return wanted
    is_default = wanted == SHARED_LOCK_DIR
    if is_default and _usable(private, 0o700) and private.stat().st_uid == os.getuid():
        return private
    raise PermissionError(
        errno.EACCES,
        f"GPU locks cannot be written to {wanted}{f' nor {private}' if is_default else ''}: "
        "make it writable, or name another directory as [node] lock_dir",
    )


def _usable(directory: Path, mode: int) -> bool:
    try:
        directory.mkdir(mode=mode)
        directory.chmod(mode)  # the umask took its part of mkdir's mode
    except FileExistsError:
        pass
    except OSError:
        return False
    return (
        directory.is_dir()
        and not directory.is_symlink()
        and os.access(directory, os.W_OK | os.X_OK)
    )


def _open(path: Path) -> int:
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, os.O_RDWR | flags)
    except PermissionError:
        return os.open(path, os.O_RDONLY | flags)  # another user's file can be locked all the same
    except FileNotFoundError:
        pass
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | flags, FILE_MODE)
    except FileExistsError:
        return _open(path)
    os.fchmod(descriptor, FILE_MODE)
    return descriptor


def _is_current(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _write_owner(descriptor: int, owner: Owner) -> None:
    line = json.dumps({"node": owner.node, "pid": owner.pid}).encode()
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, line, 0)
    except OSError as error:
        if error.errno not in (errno.EBADF, errno.EINVAL, errno.ENOSPC):
            raise
        # Opened for reading only, or a full disk: the lock holds, only its name plate is old.


def _read_owner(descriptor: int) -> Owner:
    try:
        written = json.loads(os.pread(descriptor, OWNER_BYTES_MAX, 0))
        return Owner(str(written["node"]), int(written["pid"]))
    except (ValueError, KeyError, TypeError):
        return Owner("unknown", 0)
