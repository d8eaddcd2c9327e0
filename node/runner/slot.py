"""What occupies the runner: a command or a warm worker, and the locks that are kept for it."""

from __future__ import annotations

import math
import os
import resource
import signal
import time
from collections.abc import Mapping

from . import lending
from .command import Command
from .execs import Execs
from .keeper import Keepers
from .memory_kills import MemoryKills
from .poller import Poller
from .warm import Warm

LOCKS_MAX = 64


class Slot:
    """The one place of a runner. ECHILD, seen here, is the proof that its tree is gone.

    Where a helper is the parent of the tree, that proof is its word.
    """

    def __init__(
        self, poller: Poller, locks: Mapping[str, int], execs: Execs, own_cgroup: str
    ) -> None:
        self.execs = execs
        self._own_cgroup = own_cgroup
        self._memory_kills = MemoryKills(own_cgroup)
        self.occupant: Command | Warm | None = None
        self.keepers = Keepers(poller, self)
        self.locks = dict(locks)
        self.idle_since = time.monotonic()
        self._child_fd = _watch_children()
        poller.add(self._child_fd, self._on_children)

    @property
    def command(self) -> Command | None:
        """Return the occupant if it is a command."""
        return self.occupant if isinstance(self.occupant, Command) else None

    @property
    def worker(self) -> Warm | None:
        """Return the occupant if it is a warm worker."""
        return self.occupant if isinstance(self.occupant, Warm) else None

    def take(self, occupant: Command | Warm) -> None:
        """Start an occupant."""
        assert self.occupant is None
        self.occupant = occupant
        self._memory_kills = MemoryKills(self._own_cgroup)
        occupant.start()

    def vacate(self) -> None:
        """Forget the occupant, which is proven gone, and let its locks go."""
        if self.keepers.now is not None:
            lending.over()
        self.occupant = None
        self.idle_since = time.monotonic()
        for fd in self.locks.values():
            os.close(fd)
        self.locks.clear()

    def on_reaped(self, pid: int, status: int, usage: resource.struct_rusage) -> None:
        """Take in from a helper that one that was started has ended."""
        if not self.execs.on_reaped(pid, status) and self.occupant is not None:
            self.occupant.on_reaped(pid, status, usage)

    def on_left(self) -> None:
        """Take in from a helper that others live on."""
        if self.occupant is not None:
            self.occupant.on_left()

    def on_gone(self) -> None:
        """Take in from a helper that nothing is left."""
        self.execs.on_gone()
        if self.occupant is not None:
            self.occupant.on_tree_gone(self._memory_kills.evidence())

    def keep_lock(self, name: str, fd: int) -> None:
        """Keep a lock's descriptor until the occupant is gone."""
        if name in self.locks:
            os.close(self.locks[name])
        self.locks[name] = fd

    def deadline(self) -> float:
        """Return when the occupant, or what runs beside it, wants the time."""
        occupant_at = self.occupant.deadline() if self.occupant is not None else math.inf
        kills_at = self._memory_kills.deadline() if self._is_busy else math.inf
        others_at = min(self.keepers.deadline(), self.execs.deadline())
        return min(occupant_at, kills_at, others_at)

    def on_time(self, now: float) -> None:
        """Tell the time to whoever is due."""
        self.execs.on_time(now)
        self.keepers.on_time(now)
        if self._is_busy:
            self._memory_kills.on_time(now)
        if self.occupant is not None and self.occupant.deadline() <= now:
            self.occupant.on_time(now)
            self._reap()

    @property
    def _is_busy(self) -> bool:
        return self.command is not None or bool(self.worker and self.worker.calls)

    def _on_children(self) -> None:
        os.read(self._child_fd, 512)
        self._reap()

    def _reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:  # ECHILD: the tree is gone
                # Of one that a helper keeps we never had any.
                if self.keepers.now is None and self.occupant is not None and self.occupant.pid:
                    self.occupant.on_tree_gone(self._memory_kills.evidence())
                return
            if pid and self.execs.on_reaped(pid, status):
                continue
            if self.occupant is None or self.keepers.now is not None:
                if pid == 0:
                    return
            elif pid == 0:
                self.occupant.on_left()
                return
            else:
                self.occupant.on_reaped(pid, status, usage)


def _watch_children() -> int:
    """Make every SIGCHLD readable on a descriptor, which is returned."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    return reader
