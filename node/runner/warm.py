"""How a warm worker is kept: started, fed with calls, watched, ended, accounted for."""

from __future__ import annotations

import contextlib
import math
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

from ...worker import batches, frames
from ...worker.frames import Failure, Host, Message, Outcome, Refused, WorkerEnded
from ...worker.page import PAGE_BYTES, Page
from .call_watch import CONFIRM_S, CallWatch, Culprit, started
from .ending import Ending
from .open_calls import OpenCalls
from .poller import Poller
from .spawn import SpawnError, spawn
from .streams import Pipe, Stream
from .worker_pipe import WorkerPipe

DUMP_S = 0.05
"""How long a worker has to write its stack before it is ended for a timeout."""
QUEUED_BYTES_MAX = 64 << 20
LOG_BYTES_MAX = 1 << 20
NO_INTERPRETER = frozenset({"executable_not_found", "not_executable"})


class Warm:
    """The occupant that is a warm worker."""

    kind = "worker"

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
        self._end_at = math.inf
        self._returncode: int | None = None
        self._ending: Ending | None = None
        self._how = "died"
        self._code = "worker_died"
        self._culprit: Culprit | None = None
        self._failure: dict[str, str] = {}
        self._page_fd = os.memfd_create("page", os.MFD_CLOEXEC)
        os.ftruncate(self._page_fd, PAGE_BYTES)
        self.calls = OpenCalls(Page(self._page_fd))
        self._watch = CallWatch(self.calls)
        self._pipe = WorkerPipe(poller, self._on_frame, lambda: self.stop("died", 0.0))
        log = directory / "worker.log"
        tail_bytes = frames.TAIL_BYTES_MAX
        self._log = Pipe(Stream(log, bytes_max=LOG_BYTES_MAX, tail_bytes=tail_bytes))

    def start(self) -> None:
        """Start the worker; one that cannot start is reported at once."""
        try:
            fds = {3: self._pipe.child_fd, 4: self._page_fd}
            self.pid = _start(self.order, self._directory, self._log.child_fd, fds)
        except SpawnError as error:
            self._how = "start_failed"
            code = "code_missing" if error.how in NO_INTERPRETER else error.how
            self._failure = Failure(code, error.how, error.message)._asdict()
            self.on_tree_gone()
            return
        finally:
            os.close(self._page_fd)
        self._pipe.started()
        self._log.watch(self._poller)
        self._pipe.send(frames.encode(self.order._replace(env={})))

    def forward(self, body: bytes, heads: list[tuple[bytes, int]], seq: int) -> Refused | None:
        """Forward a batch whose attempts are new; refuse it whole when it cannot be taken."""
        if self._ending is not None or self._end_at < math.inf:
            return Refused("stopping", "the worker is being ended", seq=seq)
        over = len(self.calls) + len(heads) > frames.CALLS_OPEN_MAX
        if over or self._pipe.queued_bytes + len(body) > QUEUED_BYTES_MAX:
            return Refused("full", f"{len(self.calls)} calls are open already", seq=seq)
        if not self.calls and self.loaded is not None:
            self._watch.soon()
        self.calls.take(heads)
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
        if self._ending is not None:
            self._ending.hasten(grace_s, now)
            return
        self._how = how
        self._code = code
        self._ending = Ending(how, grace_s=grace_s, now=now)

    def held(self) -> list[tuple[bytes, bool]]:
        """Return the calls that are not answered, and whether each has begun."""
        return self.calls.held()

    def on_reaped(self, pid: int, status: int, usage: resource.struct_rusage) -> None:
        """Note the exit of one process of the tree."""
        if pid == self.pid:
            self._returncode = os.waitstatus_to_exitcode(status)

    def on_left(self) -> None:
        """Kill what outlives the worker itself."""
        if self._returncode is not None and self._ending is None:
            self._ending = Ending(self._how, grace_s=0.0, now=time.monotonic())

    def on_tree_gone(self) -> None:
        """Take the last results, answer what is left, and say that the worker is gone."""
        self._pipe.drain()
        self._log.drain()
        log_tail = self._log.stream.tail(frames.LOG_TAIL_BYTES_MAX).decode(errors="replace")
        self._answer_all(self._rest(log_tail))
        self._pipe.close()
        self._log.close()
        leftovers = len(self._ending.killed - {self.pid}) if self._ending else 0
        self._ended(
            WorkerEnded(
                self.order.worker,
                self._how,
                self._returncode,
                log_tail=log_tail,
                leftovers=leftovers,
                failure=self._failure,
            )
        )

    def deadline(self) -> float:
        """Return the monotonic time of the next thing to do."""
        if self._ending is not None:
            return self._ending.next_at
        if self._end_at < math.inf:
            return self._end_at
        return min(self._watch.next_at, self._load_by)

    def on_time(self, now: float) -> None:
        """Do what is due."""
        if self._ending is not None:
            self._ending.on_time(now)
        elif self._end_at < math.inf:
            if now >= self._end_at:
                self.stop(self._how, self.order.grace_s)
        elif now >= self._load_by:
            message = f"load() took longer than {self.order.load_timeout_s} s"
            self._failure = Failure("model_unavailable", "timeout", message)._asdict()
            self._dump_and_end("load_failed", now)
        elif now >= self._watch.next_at:
            self._answer_all(self.calls.return_cancelled())
            verdict = self._watch.look(now)
            if isinstance(verdict, Culprit):
                self._culprit = verdict
                # A cancelled call had its grace already; a timeout shows where it was stuck.
                if verdict.failure.code == "cancelled":
                    self.stop("cancelled", 0.0)
                else:
                    self._dump_and_end("timeout", now)
            elif verdict is not None:
                self._emit(started(verdict, self.pid))

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
            self._how = "load_failed"
            self._failure = message.failure
        elif isinstance(message, (frames.Progress, frames.OutputGrew)):
            self._emit(message)

    def _dump_and_end(self, how: str, now: float) -> None:
        self._how = how
        self._end_at = now + DUMP_S
        with contextlib.suppress(ProcessLookupError):  # it ended by itself meanwhile
            os.kill(self.pid, signal.SIGUSR2)

    def _rest(self, log_tail: str) -> list[Outcome]:
        text = f"the worker ended ({self._how}, {_exit_text(self._returncode)})"
        charged = Failure(self._code, "", text, log_tail=log_tail)
        known = self._failure
        returned = Failure(known.get("code") or "worker_ended", "", known.get("message") or text)
        culprit = None
        if self._culprit is not None:
            culprit = self._culprit.key, self._culprit.failure._replace(log_tail=log_tail)
        return self.calls.close_all(charged, returned, culprit)

    def _answer_all(self, outcomes: list[Outcome]) -> None:
        for at in range(0, len(outcomes), frames.CALLS_MAX):
            chunk = outcomes[at : at + frames.CALLS_MAX]
            keys = [frames.join_key(one.task, one.attempt) for one in chunk]
            self._answer(batches.pack_results(0, chunk), keys)


def _start(order: Host, directory: Path, log_fd: int, fds: dict[int, int]) -> int:
    """Start the worker process and return its pid; raise SpawnError."""
    work = directory / "work"
    work.mkdir(mode=0o700, exist_ok=True)
    env = {**order.env, "REMUDA_RUNNER": directory.name}
    # The runtime's root is four levels up: <root>/remuda/node/runner/warm.py.
    start = Path(__file__).parents[3] / "start" / "worker.py"
    argv = [order.python, str(start), str(directory / "a")]
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fds = {0: null, 1: log_fd, 2: log_fd, **fds}
        return spawn(argv, env, Path(order.cwd) if order.cwd else work, fds)
    finally:
        os.close(null)


def _exit_text(returncode: int | None) -> str:
    if returncode is None:
        return "never started"
    if returncode < 0:
        try:
            return f"signal {signal.Signals(-returncode).name}"
        except ValueError:  # a real-time signal has no name
            return f"signal {-returncode}"
    return f"exit status {returncode}"
