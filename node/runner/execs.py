"""How a command runs beside an occupant: bounded in time, output and number, gone with its tree."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ...worker.asks import EXEC_OUTPUT_BYTES_MAX, Answer, Exec
from .hands import Hands
from .poller import Poller
from .spawn import SpawnError
from .streams import DRAIN_READS_MAX, READS_PER_EVENT

EXECS_MAX = 4
"""Most at a time in one runner."""
TIMEOUT_S_MAX = 600.0
READ_BYTES = 64 << 10


class _Kept:
    """The reading end of one stream, of which the beginning is kept in memory."""

    def __init__(self) -> None:
        self.total = 0
        self.data = b""
        self._poller: Poller | None = None
        self._fd, self.child_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._fd, False)

    def watch(self, poller: Poller) -> None:
        os.close(self.child_fd)
        self.child_fd = -1
        self._poller = poller
        poller.add(self._fd, self._on_readable)

    def close(self) -> None:
        """Take what is there, never waiting for the end: a grandchild may hold the other side."""
        self._read(DRAIN_READS_MAX)
        if self._poller is not None:
            self._poller.remove(self._fd)
        for fd in (self._fd, self.child_fd):
            if fd >= 0:
                os.close(fd)

    def _on_readable(self) -> None:
        if not self._read(READS_PER_EVENT) and self._poller is not None:
            self._poller.remove(self._fd)

    def _read(self, reads_max: int) -> bool:
        for _ in range(reads_max):
            try:
                data = os.read(self._fd, READ_BYTES)
            except BlockingIOError:
                return True
            if not data:
                return False
            self.total += len(data)
            self.data += data[: EXEC_OUTPUT_BYTES_MAX - len(self.data)]
        return True


class _Visit:
    """One command beside the occupant."""

    def __init__(self, order: Exec, key: bytes, hands: Hands) -> None:
        self.order = order
        self.hands = hands
        self.key = key
        self.code = ""
        self.message = ""
        self.out = _Kept()
        try:
            self.err = _Kept()
        except OSError:
            self.out.close()
            raise
        timeout_s = min(order.timeout_s, TIMEOUT_S_MAX) if order.timeout_s > 0 else TIMEOUT_S_MAX
        self.timeout_s = timeout_s
        self.kill_at = time.monotonic() + timeout_s

    def start(self, env: Mapping[str, str], cwd: Path) -> int:
        """Start it and return its pid; raise SpawnError."""
        try:
            null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise SpawnError("spawn_failed", f"no descriptor for it: {error.strerror}") from error
        try:
            fds = {0: null, 1: self.out.child_fd, 2: self.err.child_fd}
            return self.hands.spawn(self.order.argv, env, cwd, fds)
        finally:
            os.close(null)

    def answer(self, returncode: int | None) -> Answer:
        """Say what came of it."""
        self.out.close()
        self.err.close()
        return Answer(
            self.order.request,
            self.code,
            self.message,
            returncode,
            out=self.out.data,
            err=self.err.data,
            out_bytes=self.out.total,
            err_bytes=self.err.total,
        )


class Execs:
    """The commands beside the occupant; `say` gets the answer of each."""

    def __init__(self, poller: Poller, say: Callable[[Answer], None]) -> None:
        self._poller = poller
        self._say = say
        self._by_pid: dict[int, _Visit] = {}

    def __len__(self) -> int:
        return len(self._by_pid)

    def start(
        self, order: Exec, key: bytes, env: Mapping[str, str], cwd: Path, hands: Hands
    ) -> None:
        """Start a command; one that cannot start is answered at once."""
        if len(self._by_pid) >= EXECS_MAX:
            text = f"{EXECS_MAX} commands run beside this task already: wait for one to end"
            self._say(Answer(order.request, "busy", text))
            return
        try:
            visit = _Visit(order, key, hands)
        except OSError as error:  # no descriptors left: the task itself must not suffer
            self._say(Answer(order.request, "not_started", f"no pipe for it: {error.strerror}"))
            return
        try:
            pid = visit.start(env, Path(order.cwd) if order.cwd else cwd)
        except SpawnError as error:
            visit.code, visit.message = "not_started", error.message
            self._say(visit.answer(None))
            return
        for kept in (visit.out, visit.err):
            kept.watch(self._poller)
        self._by_pid[pid] = visit

    def end(self, keys: Iterable[bytes]) -> None:
        """Kill what runs beside attempts that ended."""
        ended = set(keys)
        for pid, visit in self._by_pid.items():
            if visit.key in ended:
                self._kill(pid, visit, "ended", "killed: the task ended")

    def on_reaped(self, pid: int, status: int) -> bool:
        """Answer if `pid` was one of these commands; say whether it was."""
        visit = self._by_pid.pop(pid, None)
        if visit is None:
            return False
        self._say(visit.answer(os.waitstatus_to_exitcode(status)))
        return True

    def on_gone(self) -> None:
        """Answer for those of which nobody could tell how they ended: they are gone."""
        for visit in self._by_pid.values():
            self._say(visit.answer(None))
        self._by_pid.clear()

    def deadline(self) -> float:
        """Return when the next timeout is due."""
        return min((visit.kill_at for visit in self._by_pid.values()), default=math.inf)

    def on_time(self, now: float) -> None:
        """Kill what ran for too long."""
        for pid, visit in self._by_pid.items():
            if visit.kill_at <= now:
                text = f"killed: it ran longer than {visit.timeout_s:.3g} s"
                self._kill(pid, visit, "timeout", text)

    def _kill(self, pid: int, visit: _Visit, code: str, message: str) -> None:
        visit.kill_at = math.inf
        visit.code, visit.message = code, message
        visit.hands.kill_below(pid)
