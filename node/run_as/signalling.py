"""How does the helper signal what it started, and never anything else?

A number that was read from /proc may be another process's by the time that it is signalled. Of our
own children it cannot, nor of a group whose leader we have not reaped. Any other process is held by
a descriptor, and signalled only if it is the user's.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from ..runner import tree
from ..runner.hands import OwnHands


class UsersHands(OwnHands):
    """The helper's own hands, for the processes of one user."""

    def __init__(self, uid: int) -> None:
        self._uid = uid

    def signal_all(self, *numbers: signal.Signals) -> set[int]:
        found = tree.descendants(os.getpid())
        return {pid for pid in found if not tree.is_zombie(pid) and self._signal(pid, numbers)}

    def kill_below(self, pid: int) -> None:
        for each in [*tree.descendants(pid), pid]:
            self._signal(each, (signal.SIGKILL,))

    def _signal(self, pid: int, numbers: tuple[signal.Signals, ...]) -> bool:
        try:
            held = os.pidfd_open(pid)
        except OSError:  # it ended
            return False
        try:
            if _owner(pid) != self._uid:
                return False
            for number in numbers:
                signal.pidfd_send_signal(held, number)
        except OSError:  # it ended meanwhile
            return False
        finally:
            os.close(held)
        return True


def _owner(pid: int) -> int:
    """Return who a process is, by its real id; raises OSError when it is gone."""
    for line in Path(f"/proc/{pid}/status").read_bytes().splitlines():
        if line.startswith(b"Uid:"):
            return int(line.split()[1])
    return -1
