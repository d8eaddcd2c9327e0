"""How a warm worker is kept: fed with calls, watched through the shared page, ended, accounted for.

The worker runs calls in the order in which they are forwarded, so a number per call says all: what
is below the running number has run, what is above it has not started.
"""

from __future__ import annotations

import contextlib
import math
import os
import resource
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...worker import batches, frames
from ...worker.frames import Failure, FrameError, Host, Message, Outcome, Refused, WorkerEnded
from ...worker.page import PAGE_BYTES, Page
from .ending import Ending
from .poller import Poller
from .spawn import SpawnError, spawn
from .streams import Pipe, Stream

STARTED_AFTER_S = 0.1
CONFIRM_S = 0.002
"""A call that has not begun this long after it was marked will never begin."""
DUMP_S = 0.05
"""How long a worker has to write its stack before it is ended for a timeout."""
QUEUED_BYTES_MAX = 64 << 20
LOG_BYTES_MAX = 1 << 20
RECV_BYTES = 256 << 10


@dataclass(slots=True)
class OpenCall:
    """A call that is not answered yet; `kill_at` is set once it is cancelled."""

    number: int
    timeout_ms: int
    kill_at: float = math.inf


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
        self.loaded: frames.Loaded | None = None
        self._directory = directory
        self._poller = poller
        self._emit = emit
        self._answer = answer
        self._ended = ended
        self._open: dict[bytes, OpenCall] = {}
        self._dropped: set[bytes] = set()
        self._number = 0
        self._said_started = 0
        self._look_at = math.inf
        self._pid = 0
        self._started_at = 0.0
        self._returncode: int | None = None
        self._ending: Ending | None = None
        self._how = "died"
        self._culprit: tuple[bytes, str] | None = None
        self._end_at = math.inf
        self._code = "worker_died"
        self._failure: dict[str, str] = {}
        self._parser = frames.Parser()
        self._queue: deque[memoryview] = deque()
        self._queued_bytes = 0
        self._page: Page
        self._sock: socket.socket
        self._log: Pipe

    def start(self) -> None:
        """Start the worker; one that cannot start is reported at once."""
        self._started_at = time.monotonic()
        self._log = Pipe(
            Stream(
                self._directory / "worker.log",
                bytes_max=LOG_BYTES_MAX,
                tail_bytes=frames.TAIL_BYTES_MAX,
            )
        )
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.settimeout(0.0)
        page_fd = os.memfd_create("page", os.MFD_CLOEXEC)
        os.ftruncate(page_fd, PAGE_BYTES)
        self._page = Page(page_fd)
        self._poller.add(self._sock.fileno(), self._on_readable, self._flush)
        try:
            self._pid = self._spawn(theirs.fileno(), page_fd)
        except SpawnError as error:
            self._how = "start_failed"
            code = "code_missing" if error.how == "executable_not_found" else error.how
            self._failure = Failure(code, error.how, error.message)._asdict()
            self.on_tree_gone()
            return
        finally:
            theirs.close()
            os.close(page_fd)
        self._log.started()
        self._poller.add(self._log.fd, self._on_log)
        self._send(frames.encode(self.order._replace(env={})))

    def calls(self, body: bytes, heads: list[tuple[bytes, int]], seq: int) -> Refused | None:
        """Forward a batch whose attempts are new; refuse it whole when it cannot be taken."""
        if self._ending is not None or self._end_at < math.inf:
            return Refused("stopping", "the worker is being ended", seq=seq)
        over = len(self._open) + len(heads) > frames.CALLS_OPEN_MAX
        if over or self._queued_bytes + len(body) > QUEUED_BYTES_MAX:
            return Refused("full", f"{len(self._open)} calls are open already", seq=seq)
        idle = not self._open
        number = self._number
        for key, timeout_ms in heads:
            number += 1
            self._open[key] = OpenCall(number, timeout_ms)
            self._page.mark(number, cancelled=False)
        self._number = number
        if idle and self.loaded is not None:
            self._look_soon(time.monotonic())
        self._send(frames.raw_frame(frames.CALLS, body))
        return None

    def cancel(self, key: bytes, grace_s: float) -> bool:
        """Cancel one call: never started, it comes back; running, it has the grace to return."""
        call = self._open.get(key)
        if call is None:
            return False
        now = time.monotonic()
        self._page.mark(call.number, cancelled=True)
        call.kill_at = min(call.kill_at, now + grace_s)
        self._look_at = min(self._look_at, now + CONFIRM_S)
        return True

    def stop(self, how: str, grace_s: float, code: str = "worker_ended") -> None:
        """Begin the end of the worker: TERM now, KILL after the grace."""
        now = time.monotonic()
        if self._ending is not None:
            self._ending.hasten(grace_s, now)
            return
        self._how = how
        self._code = code
        self._ending = Ending(how, grace_s=grace_s, now=now)

    @property
    def has_started(self) -> bool:
        """Say whether there is a process whose end is awaited."""
        return self._pid != 0

    def has_open(self, keys: list[bytes]) -> bool:
        """Say whether any of these calls is open already."""
        return any(key in self._open for key in keys)

    def held(self) -> list[tuple[bytes, bool]]:
        """Return the calls that are not answered, and whether each has begun."""
        running = self._page.running()[0]
        return [(key, call.number <= running) for key, call in self._open.items()]

    def on_reaped(self, pid: int, status: int, usage: resource.struct_rusage) -> None:
        """Note the exit of one process of the tree."""
        if pid == self._pid:
            self._returncode = os.waitstatus_to_exitcode(status)

    def on_left(self) -> None:
        """Kill what outlives the worker itself."""
        if self._returncode is not None and self._ending is None:
            self._ending = Ending(self._how, grace_s=0.0, now=time.monotonic())

    def on_tree_gone(self) -> None:
        """Take the last results, answer what is left, and say that the worker is gone."""
        with contextlib.suppress(FrameError):  # cut off in the middle of a frame
            self._read()
        self._log.drain()
        log_tail = self._log.stream.tail(frames.LOG_TAIL_BYTES_MAX).decode(errors="replace")
        self._answer_rest(log_tail)
        for fd in (self._sock.fileno(), self._log.fd):
            self._poller.remove(fd)
        self._sock.close()
        self._log.close()
        leftovers = len(self._ending.killed - {self._pid}) if self._ending else 0
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
        load_by = math.inf
        if self.loaded is None and self.order.load_timeout_s > 0:
            load_by = self._started_at + self.order.load_timeout_s
        return min(self._look_at, self._end_at, load_by)

    def on_time(self, now: float) -> None:
        """Do what is due."""
        if self._ending is not None:
            self._ending.on_time(now)
            return
        if now >= self._end_at:
            self.stop(self._how, self.order.grace_s)
            return
        load_timeout_s = self.order.load_timeout_s
        if self.loaded is None and 0 < load_timeout_s <= now - self._started_at:
            message = f"load() took longer than {load_timeout_s} s"
            self._failure = Failure("model_unavailable", "timeout", message)._asdict()
            self._dump_and_end("load_failed", now)
            return
        if now >= self._look_at:
            self._look(now)

    def _spawn(self, sock_fd: int, page_fd: int) -> int:
        order = self.order
        work = self._directory / "work"
        work.mkdir(mode=0o700, exist_ok=True)
        env = dict(order.env)
        env["REMUDA_RUNNER"] = self._directory.name
        # The runtime's root is four levels up: <root>/remuda/node/runner/warm.py.
        start = Path(__file__).parents[3] / "start" / "worker.py"
        argv = [order.python, str(start), str(self._directory / "a")]
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fds = {0: null, 1: self._log.child_fd, 2: self._log.child_fd, 3: sock_fd, 4: page_fd}
            return spawn(argv, env, Path(order.cwd) if order.cwd else work, fds)
        finally:
            os.close(null)

    def _send(self, data: bytes) -> None:
        self._queue.append(memoryview(data))
        self._queued_bytes += len(data)
        if len(self._queue) == 1:
            self._flush()

    def _flush(self) -> None:
        while self._queue:
            data = self._queue[0]
            try:
                sent = self._sock.send(data)
            except BlockingIOError:
                break
            except OSError:  # it is dying: its death is handled when it is reaped
                self._queue.clear()
                self._queued_bytes = 0
                break
            self._queued_bytes -= sent
            if sent == len(data):
                self._queue.popleft()
            else:
                self._queue[0] = data[sent:]
        self._poller.want_write(self._sock.fileno(), wanted=bool(self._queue))

    def _on_log(self) -> None:
        if not self._log.read():
            self._poller.remove(self._log.fd)

    def _on_readable(self) -> None:
        try:
            alive = self._read(reads_max=1)
        except FrameError:  # somebody else writes to the worker's descriptor
            self.stop("died", 0.0, "worker_died")
            alive = False
        if not alive:
            self._poller.remove(self._sock.fileno())

    def _read(self, reads_max: int = 1024) -> bool:
        for _ in range(reads_max):
            try:
                data = self._sock.recv(RECV_BYTES)
            except BlockingIOError:
                return True
            except OSError:  # it died with unread calls
                return False
            if not data:
                return False
            for kind, body in self._parser.feed(data):
                self._on_frame(kind, body)
        return True

    def _on_frame(self, kind: int, body: bytes) -> None:
        if kind == frames.RESULTS:
            self._on_results(body)
            return
        message = frames.decode(kind, body)
        if isinstance(message, frames.Loaded):
            self.loaded = message
            if self._open:
                self._look_soon(time.monotonic())
            self._emit(message)
        elif isinstance(message, WorkerEnded):
            self._how = "load_failed"
            self._failure = message.failure
        elif isinstance(message, (frames.Progress, frames.OutputGrew)):
            if frames.join_key(message.task, message.attempt) in self._open:
                self._emit(message)

    def _on_results(self, body: bytes) -> None:
        keys = batches.results_keys(body)
        if self._dropped or not all(key in self._open for key in keys):
            _, outcomes = batches.unpack_results(body)
            mine = [one for one in outcomes if self._is_open(one)]
            if not mine:
                return
            keys = [frames.join_key(one.task, one.attempt) for one in mine]
            body = batches.pack_results(0, mine)
        for key in keys:
            del self._open[key]
        self._answer(body, keys)
        if self._open:
            self._look_soon(time.monotonic())

    def _is_open(self, outcome: Outcome) -> bool:
        key = frames.join_key(outcome.task, outcome.attempt)
        self._dropped.discard(key)
        return key in self._open

    def _look_soon(self, now: float) -> None:
        self._look_at = min(self._look_at, now + STARTED_AFTER_S)

    def _look(self, now: float) -> None:
        """Compare the page with what is open: starts, timeouts and cancels."""
        self._look_at = math.inf
        running, started_ns = self._page.running()
        self._return_cancelled(running)
        if not self._open:
            return
        found = next((pair for pair in self._open.items() if pair[1].number == running), None)
        if found is None:
            # Between two calls, or the answer is on its way.
            if self.loaded is not None:
                self._look_soon(now)
            return
        key, call = found
        started_at = started_ns / 1e9
        if call.kill_at <= now:
            self._culprit = (key, "cancelled")
            self.stop("cancelled", 0.0)
            return
        times = [call.kill_at]
        if call.timeout_ms:
            times.append(started_at + call.timeout_ms / 1000)
            if times[-1] <= now:
                self._culprit = (key, "timeout")
                self._dump_and_end("timeout", now)
                return
        if self._said_started != running:
            if now - started_at >= STARTED_AFTER_S:
                self._said_started = running
                started_wall_ns = time.time_ns() - (time.monotonic_ns() - started_ns)
                task, attempt = frames.split_key(key)
                self._emit(frames.Started(task, attempt, self._pid, started_wall_ns))
            else:
                times.append(started_at + STARTED_AFTER_S)
        self._look_at = min(times)

    def _return_cancelled(self, running: int) -> None:
        """Answer the cancelled calls that have not begun and, being marked, never will."""
        back = [
            key
            for key, call in self._open.items()
            if call.kill_at < math.inf and call.number > running
        ]
        if not back:
            return
        body = batches.pack_failure(Failure("cancelled", "", "cancelled before it started"))
        outcomes = []
        for key in back:
            del self._open[key]
            self._dropped.add(key)
            outcomes.append(Outcome(*frames.split_key(key), batches.RETURNED, body))
        self._answer(batches.pack_results(0, outcomes), back)

    def _dump_and_end(self, how: str, now: float) -> None:
        self._how = how
        self._end_at = now + DUMP_S
        with contextlib.suppress(ProcessLookupError):  # it ended by itself meanwhile
            os.kill(self._pid, signal.SIGUSR2)

    def _answer_rest(self, log_tail: str) -> None:
        if not self._open:
            return
        running = self._page.running()[0]
        died = f"the worker ended ({self._how}, {_exit_text(self._returncode)})"
        outcomes = []
        for key, call in self._open.items():
            status = batches.FAILED
            failure = Failure(self._code, "", died, log_tail=log_tail)
            if call.number > running:
                status = batches.RETURNED
                code = self._failure.get("code") or "worker_ended"
                failure = Failure(code, "", self._failure.get("message") or died)
            elif self._culprit is not None and self._culprit[0] == key:
                code = self._culprit[1]
                text = f"ran longer than {call.timeout_ms / 1000} s" if code == "timeout" else code
                failure = Failure(code, "", text, log_tail=log_tail)
            outcomes.append(Outcome(*frames.split_key(key), status, batches.pack_failure(failure)))
        keys = list(self._open)
        self._open.clear()
        for at in range(0, len(keys), frames.CALLS_MAX):
            chunk = slice(at, at + frames.CALLS_MAX)
            self._answer(batches.pack_results(0, outcomes[chunk]), keys[chunk])


def _exit_text(returncode: int | None) -> str:
    if returncode is None:
        return "never started"
    if returncode < 0:
        try:
            return f"signal {signal.Signals(-returncode).name}"
        except ValueError:  # a real-time signal has no name
            return f"signal {-returncode}"
    return f"exit status {returncode}"
