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


def signal_all(*numbers: signal.Signals) -> set[int]:
    """Signal every living process below us once; return those that were signalled."""
    return {
        pid
        for pid in descendants(os.getpid())
        if not is_zombie(pid) and all(_signal(pid, number) for number in numbers)
    }


def kill_children() -> None:
    """Kill our direct children, fast: whoever loses its parent by that is our child next time.

    Between two rounds the caller reaps. Fast, because processes that fork every millisecond are
    caught only by rounds that take less.
    """
    if not _HAS_CHILDREN_FILES:
        signal_all(signal.SIGKILL)
        return
    for pid in _children(os.getpid()):
        _signal(pid, signal.SIGKILL)


def parent_of(pid: int) -> int:
    """Return the parent of `pid`, 0 when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:  # it went away
        return 0
    return int(stat[stat.rindex(b")") + 2 :].split()[1])


def _signal(pid: int, number: signal.Signals) -> bool:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False  # it ended meanwhile, or changed its user: the ECHILD proof stays open
    return True


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
