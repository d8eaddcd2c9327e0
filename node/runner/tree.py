"""Which processes live below the runner, and how they are proven gone.

The runner is a child subreaper: whatever its occupant forks, detaches or double-forks becomes its
child at the latest when the parent dies. So ECHILD from `waitpid(-1)` proves that the tree is gone.
"""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_HAS_CHILDREN_FILES = Path(f"/proc/self/task/{os.getpid()}/children").exists()
PASSES_MAX = 64
"""Most rounds of one signal; forks that outrun them meet the next round of the caller's timer."""


def become_subreaper() -> None:
    """Make orphans of our tree our own children; raise OSError where the kernel refuses."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def descendants(pid: int) -> list[int]:
    """Return the processes below `pid`, zombies included, parents before children."""
    found: list[int] = []
    todo = [pid]
    children_of = _children if _HAS_CHILDREN_FILES else _parent_map().get
    while todo:
        children = children_of(todo.pop()) or []
        found += children
        todo += children
    return found


def is_zombie(pid: int) -> bool:
    """Say whether `pid` has ended (gone altogether, or only waiting to be reaped)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:  # it went away, which is what was asked
        return True
    return stat[stat.rindex(b")") + 2 : stat.rindex(b")") + 3] in b"ZX"


def signal_all(number: signal.Signals) -> set[int]:
    """Signal every living process below us; return those that were signalled.

    For SIGKILL the tree is walked again until a pass meets nobody new: what a process forked
    while it was being killed is found in the next pass.
    """
    signalled: set[int] = set()
    for _ in range(PASSES_MAX if number == signal.SIGKILL else 1):
        fresh = [
            pid for pid in descendants(os.getpid()) if pid not in signalled and not is_zombie(pid)
        ]
        for pid in fresh:
            try:
                os.kill(pid, number)
            except (ProcessLookupError, PermissionError):
                continue  # it ended meanwhile, or changed its user: the ECHILD proof stays open
            signalled.add(pid)
        if not fresh:
            break
    return signalled


def parent_of(pid: int) -> int:
    """Return the parent of `pid`, 0 when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:  # it went away
        return 0
    return int(stat[stat.rindex(b")") + 2 :].split()[1])


def _parent_map() -> dict[int, list[int]]:
    below: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - names only, on the kill path
        if name.isdigit():
            below.setdefault(parent_of(int(name)), []).append(int(name))
    return below


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - names only, on the kill path
    except OSError:  # it went away
        return found
    for thread in threads:
        try:
            text = Path(f"/proc/{pid}/task/{thread}/children").read_text()
        except OSError:  # the thread ended
            continue
        found += [int(word) for word in text.split()]
    return found
