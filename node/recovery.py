"""What a killed runner leaves behind: its processes are killed, its answers are read.

A runner is dead when nobody holds its lock. The answers on its disk are facts; an attempt that may
have started and left no answer is lost. Blocks for as long as the killing takes (milliseconds).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from ..worker import batches
from ..worker.frames import Finished, FrameError, Results
from .runner import cgroup, tree
from .runner.answers import read_result
from .runner.helper_line import sweep
from .runner.lending import USER_FILE
from .runner.spool import read_spool

KILL_S = 5.0
"""How long recovery waits for killed processes to go; what is left then is counted as stuck."""
_PAUSE_S = 0.005


@dataclass(slots=True)
class Recovered:
    """What was found. `lost` may have started; `stuck` counts processes that survived KILL."""

    runner: str
    finished: list[Finished] = field(default_factory=list)
    results: list[Results] = field(default_factory=list)
    lost: list[tuple[bytes, int]] = field(default_factory=list)
    killed: int = 0
    stuck: int = 0
    rebooted: bool = False


def recover(directory: Path, *, kill_s: float = KILL_S) -> Recovered:
    """Kill what a dead runner left and read its answers; the directory stays until `remove`."""
    found = Recovered(directory.name)
    if not directory.is_dir():
        return found
    identity = _identity(directory)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    found.rebooted = identity.get("boot_id", boot) != boot
    if not found.rebooted:
        own_cgroup = str(identity.get("cgroup", ""))
        if own_cgroup:
            cgroup.kill(own_cgroup)
        found.killed, found.stuck = kill_tree(directory.name, kill_s)
        found.stuck += _sweep(directory)
    for body in read_spool(directory):
        with contextlib.suppress(FrameError):  # bytes that a crash of the host mangled
            found.results.append(Results(*batches.unpack_results(body)))
    for intent in sorted(directory.glob("a/*/run.json")):
        message = read_result(intent.with_name("result.json"))
        if message is not None:
            found.finished.append(message)
        else:
            found.lost += _attempt_of(intent.parent.name)
    return found


def remove(directory: Path) -> None:
    """Remove a dead runner's directory with all output, once its answers are handed over."""
    own_cgroup = str(_identity(directory).get("cgroup", ""))
    if own_cgroup:
        with contextlib.suppress(OSError):  # gone already, or not empty: it harms nobody
            Path(own_cgroup).rmdir()
    shutil.rmtree(directory, ignore_errors=True)


def _identity(directory: Path) -> dict[str, object]:
    try:
        identity = json.loads((directory / "runner.json").read_text())
    except (OSError, ValueError):  # killed before it wrote it
        return {}
    return identity if isinstance(identity, dict) else {}


def _attempt_of(name: str) -> list[tuple[bytes, int]]:
    task, _, attempt = name.partition(".")
    try:
        return [(bytes.fromhex(task), int(attempt))]
    except ValueError:  # not a directory of ours
        return []


def _sweep(directory: Path) -> int:
    """Have killed what is left of another user's; count as left what nobody can tell of."""
    try:
        found = json.loads((directory / USER_FILE).read_text())
        user, helper = str(found["user"]), str(found["helper"])
    except FileNotFoundError:  # nothing was started as somebody else
        return 0
    except (OSError, ValueError, TypeError, KeyError):
        return 1
    stuck = sweep(helper, user, directory.name)
    return 1 if stuck is None else stuck


def kill_tree(runner: str, kill_s: float) -> tuple[int, int]:
    """Kill all processes of a runner until a look finds none; return (killed, still there)."""
    mark = f"\0REMUDA_RUNNER={runner}\0".encode()
    killed: set[int] = set()
    deadline = time.monotonic() + kill_s
    while True:
        alive = _members(mark) | {pid for pid in killed if not tree.is_zombie(pid)}
        if not alive:
            return len(killed), 0
        for pid in alive:
            # Ended meanwhile, or not ours to kill: the next look tells.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        killed |= alive
        if time.monotonic() >= deadline:
            return len(killed) - len(alive), len(alive)
        time.sleep(_PAUSE_S)


def _members(mark: bytes) -> set[int]:
    """Find the marked processes, what is below them, and who shares a session with them.

    Sessions cannot be joined, and the runner starts each occupant in one of its own: so this also
    finds a process that cleared its environment.
    """
    sessions: dict[int, list[int]] = {}
    marked: set[int] = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        pid = int(entry.name)
        try:
            stat = (entry / "stat").read_bytes()
            environ = (entry / "environ").read_bytes()
        except OSError:  # it ended, or belongs to somebody else
            continue
        state, _, _, session = stat[stat.rindex(b")") + 2 :].split()[:4]
        if state in (b"Z", b"X"):
            continue
        sessions.setdefault(int(session), []).append(pid)
        if mark in b"\0" + environ + b"\0":
            marked.add(pid)
    found = set(marked)
    for pid in marked:
        found |= {below for below in tree.descendants(pid) if not tree.is_zombie(below)}
    for members in sessions.values():
        if not marked.isdisjoint(members):
            found |= set(members)
    return found - {os.getpid()}
