"""How does a daemon start in a session of its own, where does it log, and how does it end?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .processes import Process, catches, open_process, write_pid_file
from .writing import counted

LOG_BYTES_MAX = 10 * 1024 * 1024
LOG_FILES_KEPT = 3
SCHEDULER = "scheduler"
STORE = "store"
SUPERVISOR = "up"

# SIGTERM lets runners go on with their tasks (an upgrade); this stops them and hands back.
NODE_HAND_BACK = signal.SIGUSR2
SCHEDULER_HOLD = signal.SIGUSR2  # grant nothing more: what one node returns is not for the next
HANDLER_WAIT_S = 3.0
NODE_HANDLER_WAIT_S = 30.0  # ended before, it would leave its runners at work
HANDLER_POLL_S = 0.02
NODES_STOP_S = 11.0
SERVING_STOP_S = 5.0
KILL_WAIT_S = 2.0


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon of a cluster on this host: how to start it and where it leaves its traces."""

    name: str
    argv: tuple[str, ...]
    folder: Path
    pid_file: Path
    log_file: Path

    @property
    def is_scheduler(self) -> bool:
        return self.name == SCHEDULER

    @property
    def is_node(self) -> bool:
        return self.name not in (SCHEDULER, STORE)


def module_argv(module: str, *options: str) -> tuple[str, ...]:
    """Return the command of a daemon: this interpreter, the working directory not on its path."""
    return (sys.executable, "-P", "-m", module, *options)


def start(daemon: Daemon) -> Process:
    """Start a daemon that outlives us; raises OSError when it cannot be started.

    It writes its pid file itself before it becomes the daemon, so that `down` finds it whenever
    we are killed.
    """
    rotate(daemon.log_file)
    with daemon.log_file.open("ab") as log:
        child = subprocess.Popen(
            daemon.argv,
            cwd=daemon.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=lambda: write_pid_file(daemon.pid_file, os.getpid()),  # noqa: PLW1509 - up has no other threads
        )
    process = Process(child.pid, os.pidfd_open(child.pid))
    child.returncode = 0  # reaped through the descriptor, not by Popen
    return process


def rotate(log: Path) -> None:
    """Move a log that has grown over its bound aside, and the older ones with it."""
    if not log.exists() or log.stat().st_size < LOG_BYTES_MAX:
        return
    for age in range(LOG_FILES_KEPT, 1, -1):
        older = log.with_name(f"{log.name}.{age - 1}")
        if older.exists():
            older.replace(log.with_name(f"{log.name}.{age}"))
    log.replace(log.with_name(f"{log.name}.1"))


def running(run_dir: Path) -> dict[str, Process]:
    """Open every daemon of a home that runs, by the name of its pid file."""
    found: dict[str, Process] = {}
    for path in sorted(run_dir.glob("*.pid")):
        process = open_process(path)
        if process is not None:
            found[path.stem] = process
        else:
            path.unlink(missing_ok=True)
    return found


def stop(
    daemons: dict[str, Process], orphans: Iterable[Daemon], tell: Callable[[str], None]
) -> None:
    """Stop nodes, which hand their tasks back, and then the others; nothing is left running.

    `orphans` are nodes that do not run while runners of theirs do: they start once more, to end
    them.
    """
    served = (STORE, SCHEDULER)
    nodes = {name: process for name, process in daemons.items() if name not in served}
    for each in orphans:
        if each.name not in nodes:
            tell(f"{each.name} left work running: it starts once more, to end it")
            nodes[each.name] = start(each)
    scheduler = daemons.get(SCHEDULER)
    if scheduler is not None and catches(scheduler.pid, SCHEDULER_HOLD):
        scheduler.send(SCHEDULER_HOLD)
    if nodes:
        tell(f"stopping {counted(len(nodes), 'node')}: tasks that run go back to the queue")
    _end(nodes, NODE_HAND_BACK, NODES_STOP_S, tell, NODE_HANDLER_WAIT_S)
    serving = {name: daemons[name] for name in served if name in daemons}
    if serving:
        tell(f"stopping the {' and the '.join(serving)}")
        _end(serving, signal.SIGTERM, SERVING_STOP_S, tell, HANDLER_WAIT_S)


def last_line(log: Path, bytes_max: int = 4096) -> str:
    """Return the last line that a daemon logged, to say why it ended."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - bytes_max))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _end(
    daemons: dict[str, Process],
    number: signal.Signals,
    timeout_s: float,
    tell: Callable[[str], None],
    handler_wait_s: float,
) -> None:
    _ask(daemons.values(), number, handler_wait_s)
    deadline = time.monotonic() + timeout_s
    late = _still_running(daemons, deadline)
    for name in late:
        tell(f"{name} did not stop within {timeout_s:g} s: killed")
        daemons[name].send(signal.SIGKILL)
    _still_running({name: daemons[name] for name in late}, time.monotonic() + KILL_WAIT_S)
    for process in daemons.values():
        process.reap()


def _ask(processes: Iterable[Process], number: signal.Signals, wait_s: float) -> None:
    """Send each the signal once it catches it, SIGTERM to one that never does in that time."""
    deadline = time.monotonic() + wait_s
    starting = list(processes)
    while starting:
        is_late = time.monotonic() >= deadline
        for process in list(starting):
            is_heard = catches(process.pid, number)
            if is_heard or is_late:
                process.send(number if is_heard else signal.SIGTERM)
            if is_heard or is_late or process.wait_end(0):
                starting.remove(process)
        if starting:
            starting[0].wait_end(HANDLER_POLL_S)


def _still_running(daemons: dict[str, Process], deadline: float) -> Sequence[str]:
    left = {name: p for name, p in daemons.items() if not p.wait_end(deadline - time.monotonic())}
    return sorted(left)
