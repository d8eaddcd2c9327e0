"""How does a process become a user's, for good, before it runs anything of theirs?"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from ..recovery import kill_tree
from ..runner.spawn import SpawnError, find_executable, start_message
from .allowed import ID_MIN, User
from .orders import Start

UMASK = 0o022
REPORT_BYTES_MAX = 64 << 10
SWEEP_S = 5.0
_LIFTED = 100
_PR_SET_NO_NEW_PRIVS = 38
_RESET_SIGNALS = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}


class NotStarted(Exception):  # noqa: N818 - an outcome
    """Nothing runs; `how` is the word that `Finished` carries."""

    def __init__(self, how: str, message: str) -> None:
        super().__init__(message)
        self.how = how
        self.message = message


def start(user: User, order: Start, fds: Mapping[int, int]) -> int:
    """Start a program as a user, in a session of its own; raises NotStarted."""
    pid, report = _forked(lambda writer: _child(user, order, fds, writer))
    if not report:
        return pid
    os.waitpid(pid, 0)
    how, message = json.loads(report)
    raise NotStarted(how, message)


def sweep(user: User, runner: str) -> tuple[int, int]:
    """Kill as a user what is left of a runner; return (killed, still there)."""

    def child(writer: int) -> NoReturn:
        try:
            become(user)
            os.write(writer, json.dumps(kill_tree(runner, SWEEP_S)).encode())
        finally:
            os._exit(0)

    pid, report = _forked(child)
    os.waitpid(pid, 0)
    if not report:
        raise NotStarted("spawn_failed", "the sweep did not end well")
    killed, stuck = json.loads(report)
    return killed, stuck


def become(user: User) -> None:
    """Give up all that root may, for good; raises PermissionError where that cannot be."""
    if user.uid < ID_MIN or user.gid < ID_MIN:  # looked at before as well: this is the last gate
        raise PermissionError("nothing is started as a user or group of the system")
    os.setgroups(user.groups)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)
    # Nor by a program with the set-user-id bit: what is started stays the user's, and can be ended.
    if ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise PermissionError("the kernel does not rule out new privileges")
    is_user = os.getresuid() == (user.uid,) * 3 and os.getresgid() == (user.gid,) * 3
    if not is_user or set(os.getgroups()) != set(user.groups):
        raise PermissionError("the kernel did not make the user of us")
    with contextlib.suppress(PermissionError):
        os.setresuid(0, 0, 0)
        os._exit(126)  # root could be had again: nothing runs like that


def _forked(child: Callable[[int], NoReturn]) -> tuple[int, bytes]:
    """Fork; return the child's pid, and what it wrote until it ended or became a program."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        child(writer)
    os.close(writer)
    with open(reader, "rb") as file:  # noqa: PTH123 - a descriptor
        return pid, file.read(REPORT_BYTES_MAX)


def _child(user: User, order: Start, fds: Mapping[int, int], writer: int) -> NoReturn:
    """Become the user and the program; what goes wrong is told, nothing else is done."""
    try:
        os.setsid()
        with contextlib.suppress(OSError):
            # The helper is to be the last that the kernel kills for memory, its tasks are not.
            Path("/proc/self/oom_score_adj").write_text("0")
        become(user)
        os.umask(UMASK)
        signal.set_wakeup_fd(-1)
        for number in _RESET_SIGNALS:
            with contextlib.suppress(OSError, ValueError):  # two are the C library's
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        writer = _arrange(fds, writer)
        _execute(user, order)
    except SpawnError as error:
        report = [error.how, error.message]
    except BaseException as error:  # noqa: BLE001 - whatever it was, this process ends here
        report = ["spawn_failed", f"cannot start it as {user.name}: {error}"]
    try:
        os.write(writer, json.dumps(report).encode())
    finally:
        os._exit(127)


def _execute(user: User, order: Start) -> NoReturn:
    env = {"HOME": user.home, "SHELL": user.shell, **order.env}
    env |= {"USER": user.name, "LOGNAME": user.name}
    cwd = Path(order.cwd)
    try:
        os.chdir(cwd)
    except OSError as error:
        text = f"no such directory on this node for {user.name}: {cwd} ({error.strerror})"
        raise SpawnError("cwd_missing", text) from error
    executable = find_executable(order.argv[0], env, cwd)
    try:
        os.execve(executable, order.argv, env)  # noqa: S606 - it is what this is for
    except OSError as error:
        raise SpawnError("spawn_failed", start_message(executable, cwd, error)) from error


def _arrange(fds: Mapping[int, int], writer: int) -> int:
    """Put the descriptors where the program expects them, and close all others; return ours."""
    lifted = {child: _lift(fd) for child, fd in fds.items()}
    writer = _lift(writer)
    for child, fd in lifted.items():
        os.dup2(fd, child, inheritable=True)
    keep = {*fds, writer}
    for fd in range(max(keep)):
        if fd not in keep:
            with contextlib.suppress(OSError):
                os.close(fd)
    os.closerange(max(keep) + 1, os.sysconf("SC_OPEN_MAX"))
    return writer


def _lift(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _LIFTED)
