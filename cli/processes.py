"""Is the process that a pid file names still the one that was started?

A pid is used again sooner or later, so a file also holds the start time and the boot, and a
process is only ever signalled through a descriptor that was checked after it was opened.
"""

from __future__ import annotations

import json
import os
import select
import signal
from dataclasses import asdict, dataclass
from pathlib import Path

_PROC = Path("/proc")
_BOOT_ID = _PROC / "sys/kernel/random/boot_id"
_FIELDS_BEFORE_STATE = 2  # pid and (name): the name may hold blanks and brackets
_START_TICKS_FIELD = 22
_GONE = "XxZ"
PID_FILE_BYTES_MAX = 4096


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells one process from a later one with the same number."""

    pid: int
    start_ticks: int
    boot_id: str


class Process:
    """A running process, held by a descriptor: signals can never reach another one."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid = pid
        self._descriptor = descriptor

    def fileno(self) -> int:
        """Return the descriptor, which is readable once the process has ended."""
        return self._descriptor

    def send(self, number: signal.Signals) -> None:
        """Send a signal; a process that has ended does not mind."""
        if self._descriptor < 0:
            return
        try:
            signal.pidfd_send_signal(self._descriptor, number)
        except ProcessLookupError:
            return  # it ended on its own

    def wait_end(self, timeout_s: float) -> bool:
        """Wait until the process has ended; False when it still runs after the timeout."""
        if self._descriptor < 0:
            return True
        waiting = select.poll()
        waiting.register(self._descriptor, select.POLLIN)
        return bool(waiting.poll(max(0.0, timeout_s) * 1000))

    def reap(self) -> int | None:
        """Give the descriptor back and return the exit code, if the process was our child."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        try:
            _, status = os.waitpid(self.pid, 0)
        except ChildProcessError:
            return None  # another process started it
        return os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        """Give the descriptor back without waiting."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def identify(pid: int) -> Identity | None:
    """Return the identity of a running process; None when it ended or never was."""
    try:
        line = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        boot_id = _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return None
    fields = line[line.rindex(")") + 1 :].split()
    if fields[0] in _GONE:
        return None
    start_ticks = int(fields[_START_TICKS_FIELD - _FIELDS_BEFORE_STATE - 1])
    return Identity(pid, start_ticks, boot_id)


def catches(pid: int, number: signal.Signals) -> bool:
    """Tell whether a process has installed a handler for a signal."""
    try:
        lines = (_PROC / str(pid) / "status").read_text(errors="replace").splitlines()
    except OSError:
        return False
    mask = next((line.split()[1] for line in lines if line.startswith("SigCgt:")), "0")
    return bool(int(mask, 16) >> (number - 1) & 1)


def write_pid_file(path: Path, pid: int) -> None:
    """Write who runs under this name; readers see the old file or the new one."""
    identity = identify(pid)
    if identity is None:
        return  # it has ended already: whoever waits for it will see that
    temporary = path.with_name(f".{path.name}.{pid}")
    temporary.write_text(json.dumps(asdict(identity)) + "\n", encoding="utf-8")
    temporary.replace(path)


def open_process(path: Path) -> Process | None:
    """Open the process that a pid file names; None when it does not run (any more)."""
    noted = _read(path)
    if noted is None:
        return None
    try:
        descriptor = os.pidfd_open(noted.pid)
    except OSError:
        return None
    if identify(noted.pid) != noted:
        os.close(descriptor)
        return None
    return Process(noted.pid, descriptor)


def _read(path: Path) -> Identity | None:
    try:
        with path.open("rb") as file:
            plain = json.loads(file.read(PID_FILE_BYTES_MAX))
        return Identity(int(plain["pid"]), int(plain["start_ticks"]), str(plain["boot_id"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # no file, or not one of ours: nothing that may be signalled
