"""How a warm worker is kept: started, fed with calls, watched, ended, accounted for."""

from __future__ import annotations

import math
import os
import resource
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ...worker import frames
from ...worker.frames import Failure, Host, Message, Refused, WorkerEnded
from ...worker.page import PAGE_BYTES, Page
from .call_watch import CONFIRM_S, CallWatch, Culprit, started
from .ending import Ending
from .hands import OWN
from .open_calls import CallLimit, OpenCalls
from .poller import Poller
from .spawn import SpawnError, spawn
from .stack import StackFile
from .streams import Pipe, Stream
from .worker_end import WorkerEnd, in_batches
from .worker_pipe import WorkerPipe

QUEUED_BYTES_MAX = 64 << 20
LOG_BYTES_MAX = 1 << 20
NO_INTERPRETER = frozenset({"executable_not_found", "not_executable"})


class Warm:
    """The occupant that is a warm worker."""

    kind = "worker"
    hands = OWN

    def __init__(
        self,
        order: Host,
        directory: Path,
        poller: Poller,
        emit: Callable[[Message], None],
        answer: Callable[[bytes, list[bytes]], None],
        ended: Callable[[WorkerEnded], None],
    ) -> None:
        self.order = order
        self.pid = 0
        self.loaded: frames.Loaded | None = None
        self._directory = directory
        self._poller = poller
        self._emit = emit
        self._answer = answer
        self._ended = ended
        self._load_by = math.inf
        if order.load_timeout_s > 0:
            self._load_by = time.monotonic() + order.load_timeout_s
        self._is_over = False
        self.ending: Ending | None = None
        self._end = WorkerEnd()
        self.stack = StackFile()
        self._page_fd = os.memfd_create("page", os.MFD_CLOEXEC)
        os.ftruncate(self._page_fd, PAGE_BYTES)
        self.calls = OpenCalls(Page(self._page_fd), in_batches=order.max_batch > 1)
        self._watch = CallWatch(self.calls, order.grace_s)
        self._pipe = WorkerPipe(poller, self._on_frame, lambda: self.stop("died", 0.0))
        log = directory / "worker.log"
        tail_bytes = frames.TAIL_BYTES_MAX
        self._log = Pipe(Stream(log, bytes_max=LOG_BYTES_MAX, tail_bytes=tail_bytes))

    def start(self) -> None:
        """Start the worker; one that cannot start is reported at once."""
        try:
            fds = {3: self._pipe.child_fd, 4: self._page_fd, 5: self.stack.fd}
            self.pid = _start(self.order, self._directory, self._log.child_fd, fds)
        except SpawnError as error:
            self._end.how = "start_failed"
            code = "code_missing" if error.how in NO_INTERPRETER else error.how
            self._end.failure = Failure(code, error.how, error.message)._asdict()
            self.on_tree_gone("")
            return
        finally:
            os.close(self._page_fd)
        self._pipe.started()
        self._log.watch(self._poller, self._watch.heard)
        self._pipe.send(frames.encode(self.order._replace(env={}, secrets={})))

    def forward(
        self,
        body: bytes,
        heads: list[tuple[bytes, int]],
        seq: int,
        limits: Mapping[bytes, CallLimit],
    ) -> Refused | None:
        """Forward a batch whose attempts are new; refuse it whole when it cannot be taken."""
        if self.ending is not None or self._is_over:
            return Refused("stopping", "the worker is being ended", seq=seq)
        over = len(self.calls) + len(heads) > frames.CALLS_OPEN_MAX
        if over or self._pipe.queued_bytes + len(body) > QUEUED_BYTES_MAX:
            return Refused("full", f"{len(self.calls)} calls are open already", seq=seq)
        if not self.calls and self.loaded is not None:
            self._watch.soon()
        self.calls.take(heads, limits)
        self._pipe.send(frames.raw_frame(frames.CALLS, body))
        return None

    def cancel(self, key: bytes, grace_s: float) -> bool:
        """Cancel one call: never started, it comes back; running, it has the grace to return.

        An infinite grace leaves a running one alone.
        """
        if not self.calls.cancel(key, time.monotonic() + grace_s):
            return False
        self._watch.soon(CONFIRM_S)
        return True

    def stop(self, how: str, grace_s: float, code: str = "worker_died") -> None:
        """Begin the end of the worker: TERM now, KILL after the grace."""
        now = time.monotonic()
        if self.ending is not None:
            self.ending.hasten(grace_s, now)
            return
        self._end.how = how
        self._end.code = code
        self.ending = Ending(how, grace_s=grace_s, now=now)

    def is_running(self, key: bytes) -> bool:
        """Say whether this call runs now, in a worker that is not being ended."""
        over = self.ending is not None or self._is_over
        return not over and any(each.key == key for each in self.calls.running())

    @property
    def surroundings(self) -> tuple[dict[str, str], str]:
        """Return environment and directory of the worker, for what runs beside a call."""
        env = {**self.order.env, "REMUDA_RUNNER": self._directory.name}
        return env, self.order.cwd or str(self._directory / "work")

    def held(self) -> list[tuple[bytes, bool]]:
        """Return the calls that are not answered, and whether each has begun."""
        return self.calls.held()

    def on_reaped(self, pid: int, status: int, usage: resource.struct_rusage) -> None:
        """Note the exit of one process of the tree."""
        if pid == self.pid:
            self._end.returncode = os.waitstatus_to_exitcode(status)

    def on_left(self) -> None:
        """Kill what outlives the worker itself."""
        if self._end.returncode is not None and self.ending is None:
            self.ending = Ending(self._end.how, grace_s=0.0, now=time.monotonic())

    def on_tree_gone(self, memory_evidence: str) -> None:
        """Take the last results, answer what is left, and say that the worker is gone."""
        self._pipe.drain()
        self._log.drain()
        self.stack.hand_on()
        log_tail = self._log.stream.tail(frames.LOG_TAIL_BYTES_MAX).decode(errors="replace")
        for body, keys in in_batches(self._end.outcomes(self.calls, log_tail, memory_evidence)):
            self._answer(body, keys)
        self._pipe.close()
        self._log.close()
        self.stack.close()
        leftovers = len(self.ending.killed - {self.pid}) if self.ending else 0
        self._ended(self._end.message(self.order.worker, log_tail, leftovers))

    def deadline(self) -> float:
        """Return the monotonic time of the next thing to do."""
        if self.ending is not None:
            return min(self.ending.next_at, self.stack.next_at)
        if self._is_over:
            return self.stack.next_at
        return min(self._watch.next_at, self._load_by, self.stack.next_at)

    def on_time(self, now: float) -> None:
        """Do what is due."""
        self.stack.on_time(now)
        if self.ending is not None:
            self.ending.on_time(now)
        elif self._is_over:
            return
        elif now >= self._load_by:
            message = f"load() took longer than {self.order.load_timeout_s} s"
            self._end.failure = Failure("model_unavailable", "timeout", message)._asdict()
            self._show_and_end("load_failed", now)
        elif now >= self._watch.next_at:
            for body, keys in in_batches(self.calls.return_cancelled()):
                self._answer(body, keys)
            verdict = self._watch.look(now)
            if isinstance(verdict, Culprit):
                self._end.culprit = verdict
                # A cancelled call had its grace already; other limits show where it was stuck.
                if verdict.failure.code == "cancelled":
                    self.stop("cancelled", 0.0)
                else:
                    self._show_and_end(verdict.failure.code, now)
                return
            for each in verdict:
                self._emit(started(each, self.pid))

    def _on_frame(self, kind: int, body: bytes) -> None:
        if kind == frames.RESULTS:
            body, keys = self.calls.settle(body)
            if keys:
                self._answer(body, keys)
            self._watch.soon()
            return
        message = frames.decode(kind, body)
        if isinstance(message, frames.Loaded):
            self.loaded = message
            self._load_by = math.inf
            self._watch.soon()
            self._emit(message)
        elif isinstance(message, WorkerEnded):
            self._end.how = "load_failed"
            self._end.failure = message.failure
        elif isinstance(message, frames.Formed):
            self._emit(message)
        elif isinstance(message, (frames.Progress, frames.OutputGrew)):
            self._watch.heard()
            self._emit(message)

    def _show_and_end(self, how: str, now: float) -> None:
        """Take the stack, so that the failure tells where it was stuck, and end the worker."""
        self._end.how = how
        self._is_over = True

        def then(stack: str) -> None:
            self._end.show_stack(stack)
            self.stop(how, self.order.grace_s)

        self.stack.take(self.pid, now, then)


def _start(order: Host, directory: Path, log_fd: int, fds: dict[int, int]) -> int:
    """Start the worker process and return its pid; raise SpawnError."""
    work = directory / "work"
    work.mkdir(mode=0o700, exist_ok=True)
    env = {**order.env, **order.secrets, "REMUDA_RUNNER": directory.name}
    # The runtime's root is four levels up: <root>/remuda/node/runner/warm.py.
    start = Path(__file__).parents[3] / "start" / "worker.py"
    argv = [order.python, str(start), str(directory / "a")]
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fds = {0: null, 1: log_fd, 2: log_fd, **fds}
        return spawn(argv, env, Path(order.cwd) if order.cwd else work, fds)
    finally:
        os.close(null)
