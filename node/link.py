"""How an agent starts, finds and talks to its runners. Never blocks, owns no loop."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import socket
import sys
from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..worker import frames
from ..worker.frames import FrameError, Hello, Message, Parser

RECV_BYTES = 256 << 10
BUFFER_BYTES_MAX = 8 << 20
"""A runner that leaves this much unread is taken for stuck: the link closes."""
RECVS_PER_CALL = 8
DESCRIPTORS_MAX = 64
_LOCK_FD = 3
_FIRST_HELD_FD = 10


class LinkNotReady(Exception):  # noqa: N818 - an outcome, not a fault
    """The runner lives but its socket is not there yet: try again in some milliseconds."""


class LinkGone(Exception):  # noqa: N818
    """No process holds this runner's lock: it ended or was killed; see recovery.py."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a scan of a directory shows: runners that live, and directories of dead ones."""

    alive: list[Path]
    dead: list[Path]


_children: set[int] = set()


def spawn(
    runners_dir: Path,
    runtime: Path,
    *,
    idle_s: float = 60.0,
    lock_fds: Mapping[str, int] | None = None,
) -> Path:
    """Start a runner and return its directory at once; its socket comes some 30 ms later.

    The lock is taken here and inherited, so that no scan ever sees a newborn runner as dead.
    `lock_fds` (name -> descriptor) are inherited too and kept until the first occupant is gone.
    Raises OSError, and leaves nothing then, where descriptors, processes or room run short.
    """
    reap()
    held = dict(lock_fds or {})
    directory = runners_dir.absolute() / secrets.token_hex(8)
    argv = [sys.executable, "-I", "-S", str(runtime.absolute() / "start" / "runner.py")]
    argv += [str(directory), f"--idle-s={idle_s}"]
    argv += [f"--lock={name}={_FIRST_HELD_FD + at}" for at, name in enumerate(held)]
    fds: list[int] = []
    try:
        directory.mkdir(parents=True, mode=0o700)
        (directory / "a").mkdir(mode=0o700)
        for path, flags in (
            (directory / "lock", os.O_RDWR | os.O_CREAT),
            (directory / "runner.log", os.O_WRONLY | os.O_CREAT),
            (os.devnull, os.O_RDWR),
        ):
            fds.append(os.open(path, flags | os.O_CLOEXEC, 0o600))
        lock, log, null = fds
        wanted = {0: null, 1: log, 2: log, _LOCK_FD: lock}
        wanted |= {_FIRST_HELD_FD + at: fd for at, fd in enumerate(held.values())}
        actions = []
        for to, fd in wanted.items():
            # Lifted above every target number, so that no dup2 overwrites a source.
            fds.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 200))
            actions.append((os.POSIX_SPAWN_DUP2, fds[-1], to))
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _children.add(os.posix_spawn(sys.executable, argv, _environment(), file_actions=actions))
    except OSError:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    finally:
        for fd in fds:
            os.close(fd)
    return directory


def reap() -> None:
    """Collect runners of ours that exited; `spawn` and `scan` do it too."""
    for pid in list(_children):
        try:
            ended, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:  # collected elsewhere, or we are a fork
            ended = pid
        if ended:
            _children.discard(pid)


def scan(runners_dir: Path) -> Found:
    """Look through a directory of runners: alive is whose lock is held."""
    reap()
    found = Found([], [])
    if runners_dir.is_dir():
        for directory in sorted(runners_dir.iterdir()):
            if directory.is_dir():
                (found.alive if is_alive(directory) else found.dead).append(directory)
    return found


def is_alive(directory: Path) -> bool:
    """Say whether some process holds the runner's lock."""
    try:
        fd = os.open(directory / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:  # it was never made, or the runner removed it on its way out
        return False
    except OSError:  # nobody can tell now: who is taken for dead is killed
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


class Link:
    """One connection to a runner. The first message is a Hello; `closed` says why it ended."""

    def __init__(self, directory: Path, sock: socket.socket) -> None:
        self.directory = directory
        self.closed = ""
        self._sock = sock
        self._parser = Parser()
        self._queue: deque[tuple[memoryview, Sequence[int]]] = deque()
        self._queued_bytes = 0
        self._fds: list[int] = []
        self._lock_fds: dict[str, int] = {}

    @classmethod
    def attach(cls, directory: Path) -> Link:
        """Connect to the runner in `directory`; raise LinkNotReady or LinkGone."""
        try:
            folder = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise LinkGone(f"{directory} is gone") from error
        except OSError as error:
            raise LinkNotReady(f"{directory} cannot be opened now") from error
        try:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        except OSError as error:
            os.close(folder)
            raise LinkNotReady(f"no connection to {directory} can be made now") from error
        sock.settimeout(0.0)
        try:
            # sun_path holds 107 bytes; through /proc any directory fits.
            sock.connect(f"/proc/self/fd/{folder}/sock")
        except OSError as error:
            sock.close()
            if is_alive(directory):
                raise LinkNotReady(f"{directory} does not listen yet") from error
            raise LinkGone(f"the runner of {directory} is gone") from error
        finally:
            os.close(folder)
        return cls(directory, sock)

    @property
    def want_write(self) -> bool:
        """Say whether bytes wait for the socket to become writable."""
        return bool(self._queue)

    def fileno(self) -> int:
        """Return the descriptor for an outside poller, -1 once closed."""
        return self._sock.fileno()

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Queue a message and send what goes; `fds` travel with it (HoldLocks).

        Descriptors are duplicated by the kernel as they are sent: keep them open until
        `want_write` is false. After the link closed this does nothing.
        """
        if self.closed:
            return
        data = frames.encode(message)
        self._queue.append((memoryview(data), fds))
        self._queued_bytes += len(data)
        if len(self._queue) == 1:
            self.on_writable()
        if self._queued_bytes > BUFFER_BYTES_MAX:
            self.close("overflow")

    def on_writable(self) -> None:
        """Send what waits, as far as it goes without blocking."""
        while self._queue:
            data, fds = self._queue[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
            try:
                sent = self._sock.sendmsg([data], rights)
            except BlockingIOError:
                return
            except OSError:
                # What the runner said before it closed is still to be read: the reader closes.
                self._queue.clear()
                self._queued_bytes = 0
                return
            self._queued_bytes -= sent
            if sent == len(data):
                self._queue.popleft()
            else:
                self._queue[0] = (data[sent:], ())

    def on_readable(self) -> list[Message]:
        """Return the messages that have arrived; at the end of the stream `closed` is set."""
        messages: list[Message] = []
        for _ in range(RECVS_PER_CALL):
            data = self._receive()
            if not data:
                break
            try:
                for kind, body in self._parser.feed(data):
                    message = frames.decode(kind, body)
                    if isinstance(message, Hello):
                        _check_protocol(message)
                        self._take_locks(message)
                    messages.append(message)
            except FrameError as error:
                self.close(f"malformed: {error}")
                break
        return messages

    def take_lock_fds(self) -> dict[str, int]:
        """Hand over the lock descriptors that came with a Hello; they are the caller's now."""
        taken, self._lock_fds = self._lock_fds, {}
        return taken

    def close(self, why: str = "closed") -> None:
        """Close the link; the runner and its occupant go on."""
        if self.closed:
            return
        self.closed = why
        self._sock.close()
        for fd in [*self._fds, *self._lock_fds.values()]:
            os.close(fd)
        self._fds.clear()
        self._lock_fds.clear()
        self._queue.clear()

    def _receive(self) -> bytes:
        if self.closed:
            return b""
        space = socket.CMSG_SPACE(DESCRIPTORS_MAX * array("i").itemsize)
        try:
            data, rights, _, _ = self._sock.recvmsg(RECV_BYTES, space, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return b""
        except OSError as error:
            self.close(f"error: {error.strerror}")
            return b""
        for _, _, payload in rights:
            found = array("i")
            found.frombytes(payload[: len(payload) - len(payload) % found.itemsize])
            self._fds += found
        if not data:
            self.close("eof")
        return data

    def _take_locks(self, hello: Hello) -> None:
        for name in hello.locks:
            if not self._fds:
                return
            previous = self._lock_fds.pop(name, None)
            if previous is not None:
                os.close(previous)
            self._lock_fds[name] = self._fds.pop(0)


def _check_protocol(hello: Hello) -> None:
    if hello.protocol > frames.PROTOCOL or hello.newest < frames.PROTOCOL_OLDEST:
        spoken = f"{hello.protocol} to {hello.newest}"
        raise FrameError(f"runner {hello.runner} speaks protocol {spoken}")


def _environment() -> dict[str, str]:
    # The runner needs nothing of the agent's environment, and must not hand it on.
    kept = {}
    for name in ("PATH", "LANG", "LC_ALL", "TMPDIR"):
        with contextlib.suppress(KeyError):
            kept[name] = os.environ[name]
    return kept
