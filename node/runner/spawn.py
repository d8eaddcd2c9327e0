"""How a process is started: its own session, a clean environment, and exact words for failure.

`posix_spawn` neither searches the task's PATH nor changes directory, so both happen here; the
runner is single-threaded, which makes chdir, spawn, fchdir safe.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
_RESET_SIGNALS = [
    number for number in signal.valid_signals() if number not in (signal.SIGKILL, signal.SIGSTOP)
]


class SpawnError(Exception):
    """A process could not be started; `how` is the word that `Finished` carries."""

    def __init__(self, how: str, message: str) -> None:
        super().__init__(message)
        self.how = how
        self.message = message


def find_executable(name: str, env: Mapping[str, str], cwd: Path) -> str:
    """Return the path to run for `name`, searched in the PATH of `env`; raise SpawnError."""
    if "/" in name:
        candidates = [cwd / name]
    else:
        search = env.get("PATH") or DEFAULT_PATH
        candidates = [cwd / folder / name for folder in search.split(":")]
    for candidate in candidates:
        if os.access(candidate, os.X_OK) and candidate.is_file():
            return str(candidate)
    for candidate in candidates:
        if os.access(candidate, os.F_OK) and candidate.is_file():
            raise SpawnError("not_executable", f"not executable: {candidate} (chmod +x it)")
    where = "" if "/" in name else f" in PATH={env.get('PATH') or DEFAULT_PATH}"
    raise SpawnError("executable_not_found", f"executable not found: {name}{where}")


def spawn(argv: Sequence[str], env: Mapping[str, str], cwd: Path, fds: Mapping[int, int]) -> int:
    """Start `argv` in a session of its own and return its pid; raise SpawnError.

    `fds` maps the child's descriptor numbers to ours; all others are closed on exec.
    """
    if not cwd.is_dir():
        raise SpawnError("cwd_missing", f"no such directory on this node: {cwd}")
    executable = find_executable(argv[0], env, cwd)
    # Lifted out of the way first, so that no dup2 overwrites a source that is still needed.
    lifted: dict[int, int] = {}
    here = -1
    try:
        here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for child, fd in fds.items():
            lifted[child] = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100)
        actions = [(os.POSIX_SPAWN_DUP2, fd, child) for child, fd in lifted.items()]
        os.chdir(cwd)
        return os.posix_spawn(
            executable,
            list(argv),
            dict(env),
            file_actions=actions,
            setsid=True,
            setsigdef=_RESET_SIGNALS,
            setsigmask=[],
        )
    except OSError as error:
        raise SpawnError("spawn_failed", start_message(executable, cwd, error)) from error
    except ValueError as error:  # a NUL byte in argv or env
        raise SpawnError("spawn_failed", f"cannot start {executable}: {error}") from error
    finally:
        if here >= 0:
            os.fchdir(here)
        for fd in [here, *lifted.values()]:
            if fd >= 0:
                os.close(fd)


def start_message(executable: str, cwd: Path, error: OSError) -> str:
    """Say why the kernel did not start a program."""
    if error.errno == errno.ENOEXEC:
        return f"{executable} has no #! line and is no binary: put an interpreter in front"
    if error.errno == errno.ENOENT:
        return f"{executable}: the interpreter in its #! line does not exist"
    if error.errno == errno.E2BIG:
        return f"{executable}: arguments and environment are too long for this system"
    return f"cannot start {executable} in {cwd}: {error.strerror}"
