"""What the runner does with each frame: one occupant at a time, every order answered once."""

from __future__ import annotations

import math
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from ...worker import batches, frames
from ...worker.frames import (
    Ack,
    Cancel,
    EndWorker,
    Exit,
    Finished,
    FrameError,
    Hello,
    HoldLocks,
    Host,
    Message,
    Refused,
    Run,
    Status,
    WorkerEnded,
)
from .answers import FINISHED_MAX, Answers
from .command import Command
from .connection import Server
from .poller import Poller
from .warm import Warm

EXIT_ACK_S = 2.0
"""How long an exiting runner waits for the acknowledgement of its last answers."""
LOCKS_MAX = 64


class Runner:
    """The loop of one runner process."""

    def __init__(
        self, directory: Path, *, idle_s: float, locks: Mapping[str, int], own_cgroup: str
    ) -> None:
        self._directory = directory
        self._idle_s = idle_s
        self._cgroup = own_cgroup
        self._poller = Poller()
        self._answers = Answers(directory)
        self._unsent: deque[int] = deque()
        self._locks = dict(locks)
        self._occupant: Command | Warm | None = None
        self._idle_since = time.monotonic()
        self._exit_at = math.inf
        self._stopping = False
        self._done = False
        self._server = Server(
            directory, self._poller, self._on_frame, self._on_attached, self._pump
        )
        self._child_fd = _watch_children()
        self._poller.add(self._child_fd, self._reap)
        self._handlers: dict[type, Callable[[Message], None]] = {
            Run: self._on_run,
            Host: self._on_host,
            Cancel: self._on_cancel,
            Ack: self._on_ack,
            EndWorker: self._on_end_worker,
            Status: self._on_status,
            Exit: self._on_exit,
        }

    def run(self) -> None:
        """Serve until idle for long enough or told to exit."""
        while not self._done:
            now = time.monotonic()
            deadline = self._deadline()
            self._poller.poll(max(0.0, deadline - now) if deadline < math.inf else None)
            now = time.monotonic()
            if self._occupant is not None and self._occupant.deadline() <= now:
                self._occupant.on_time(now)
            self._look_for_exit(now)
        self._server.close()

    def _deadline(self) -> float:
        if self._occupant is not None:
            return self._occupant.deadline()
        if self._stopping:
            return self._exit_at
        return self._idle_since + self._idle_s if self._answers.empty() else math.inf

    def _look_for_exit(self, now: float) -> None:
        if self._occupant is not None:
            return
        heard = self._server.connection is not None and self._server.connection.open
        if self._stopping:
            self._done = self._answers.empty() or now >= self._exit_at or not heard
        elif self._answers.empty():
            self._done = now >= self._idle_since + self._idle_s

    def _on_attached(self) -> None:
        self._on_status(Status())
        for message in self._answers.finished.values():
            self._server.send(message)
        self._unsent = deque(self._answers.spool.waiting())
        self._pump()

    def _pump(self) -> None:
        """Send waiting results while the agent keeps up."""
        connection = self._server.connection
        while self._unsent and connection is not None and connection.has_room:
            body = self._answers.spool.read(self._unsent.popleft())
            if body is not None:
                connection.send(frames.raw_frame(frames.RESULTS, body))

    def _on_frame(self, kind: int, body: bytes, fds: list[int]) -> None:
        if kind == frames.CALLS:
            self._on_calls(body)
            return
        message = frames.decode(kind, body)
        if isinstance(message, HoldLocks):
            self._on_hold_locks(message, fds)
            return
        handler = self._handlers.get(type(message))
        if handler is None:
            raise FrameError(f"{type(message).__name__} is not for a runner")
        try:
            handler(message)
        except (TypeError, ValueError, OverflowError) as error:
            # A field of the wrong type: the frame is at fault, the occupant is not touched.
            raise FrameError(f"malformed {type(message).__name__}: {error}") from error

    def _on_run(self, message: Message) -> None:
        assert isinstance(message, Run)
        key = frames.join_key(message.task, message.attempt)
        if isinstance(self._occupant, Command) and self._occupant.key == key:
            return
        if key in self._answers.finished:
            self._server.send(self._answers.finished[key])
            return
        refusal = None
        if self._answers.answered(key):
            refusal = "known", "this attempt was answered and acknowledged"
        elif self._stopping:
            refusal = "stopping", "the runner is exiting"
        elif self._occupant is not None:
            refusal = "busy", f"a {self._occupant.kind} is running"
        elif len(self._answers.finished) >= FINISHED_MAX:
            refusal = "full", f"{FINISHED_MAX} results wait for an acknowledgement"
        elif not message.argv:
            refusal = "malformed", "argv is empty"
        if refusal is not None:
            self._server.send(Refused(*refusal, task=message.task, attempt=message.attempt))
            return
        send = self._server.send
        command = Command(message, self._directory, self._poller, send, self._on_finished)
        self._occupant = command
        command.start()

    def _on_host(self, message: Message) -> None:
        assert isinstance(message, Host)
        current = self._occupant
        if isinstance(current, Warm) and current.order.worker == message.worker:
            if current.loaded is not None:
                self._server.send(current.loaded)
            return
        if current is not None or self._stopping:
            self._server.send(Refused("busy", "the runner is taken or exiting"))
            return
        warm = Warm(
            message,
            self._directory,
            self._poller,
            self._server.send,
            self._on_results,
            self._on_worker_ended,
        )
        self._occupant = warm
        warm.start()

    def _on_calls(self, body: bytes) -> None:
        seq, heads = batches.calls_heads(body)
        warm = self._occupant
        if not isinstance(warm, Warm):
            self._server.send(Refused("no_worker", "no worker is hosted here", seq=seq))
            return
        keys = [key for key, _ in heads]
        open_keys = {key for key, _ in warm.held()} if warm.has_open(keys) else set()
        if open_keys or len(set(keys)) < len(keys) or any(map(self._answers.answered, keys)):
            body, heads = self._new_calls(body, open_keys)
        if not heads:
            return
        refusal = warm.calls(body, heads, seq)
        if refusal is not None:
            self._server.send(refusal)

    def _new_calls(
        self, body: bytes, open_keys: set[bytes]
    ) -> tuple[bytes, list[tuple[bytes, int]]]:
        """Cut known attempts out of a batch, repeating the answers that wait."""
        batch = batches.unpack_calls(body)
        fresh: dict[bytes, batches.Call] = {}
        for call in batch.calls:
            key = frames.join_key(call.task, call.attempt)
            record = self._answers.record_of(key)
            if record is not None and record not in self._unsent:
                self._unsent.append(record)
            if key not in open_keys and not self._answers.answered(key):
                fresh[key] = call
        self._pump()
        heads = [(key, call.timeout_ms) for key, call in fresh.items()]
        return batches.pack_calls(batches.Calls(batch.seq, list(fresh.values()))), heads

    def _on_cancel(self, message: Message) -> None:
        assert isinstance(message, Cancel)
        key = frames.join_key(message.task, message.attempt)
        occupant = self._occupant
        if isinstance(occupant, Command) and occupant.key == key:
            occupant.stop("cancelled", message.grace_s)
        elif isinstance(occupant, Warm) and occupant.cancel(key, message.grace_s):
            pass
        elif not self._answers.answered(key):
            text = "this attempt is not here"
            self._server.send(Refused("unknown", text, task=message.task, attempt=message.attempt))

    def _on_ack(self, message: Message) -> None:
        assert isinstance(message, Ack)
        self._answers.ack(message)
        self._idle_since = max(self._idle_since, time.monotonic())

    def _on_end_worker(self, message: Message) -> None:
        assert isinstance(message, EndWorker)
        if isinstance(self._occupant, Warm):
            self._occupant.stop("ended", message.grace_s, message.code)

    def _on_status(self, message: Message) -> None:
        assert isinstance(message, Status)
        occupant = self._occupant
        held = [
            [*_readable(key), started] for key, started in (occupant.held() if occupant else [])
        ]
        warm = occupant if isinstance(occupant, Warm) else None
        hello = Hello(
            protocol=frames.PROTOCOL,
            runner=self._directory.name,
            pid=os.getpid(),
            boot_id=boot_id(),
            occupant=occupant.kind if occupant else "",
            worker=warm.order.worker if warm else "",
            loaded=bool(warm and warm.loaded),
            held=held,
            unacked=self._answers.unacked(),
            locks=list(self._locks),
            cgroup=self._cgroup,
        )
        self._server.send(hello, list(self._locks.values()))

    def _on_exit(self, message: Message) -> None:
        assert isinstance(message, Exit)
        if message.if_idle and (self._occupant is not None or not self._answers.empty()):
            return
        self._stopping = True
        self._exit_at = time.monotonic() + EXIT_ACK_S
        if self._occupant is not None:
            self._occupant.stop("stopped", message.grace_s)

    def _on_hold_locks(self, message: HoldLocks, fds: list[int]) -> None:
        if len(fds) < len(message.names) or len(self._locks) + len(fds) > LOCKS_MAX:
            raise FrameError(f"{len(message.names)} locks named, {len(fds)} descriptors came")
        for name in message.names:
            fd = fds.pop(0)
            if name in self._locks:
                os.close(self._locks[name])
            self._locks[name] = fd

    def _on_finished(self, message: Finished) -> None:
        self._answers.finish(message)
        self._vacate()
        self._server.send(message)

    def _on_results(self, body: bytes, keys: list[bytes]) -> None:
        record = self._answers.results(body, keys)
        connection = self._server.connection
        if self._unsent or connection is None or not connection.has_room:
            if connection is not None and connection.open:
                self._unsent.append(record)
            return
        connection.send(frames.raw_frame(frames.RESULTS, batches.with_record(body, record)))

    def _on_worker_ended(self, message: WorkerEnded) -> None:
        self._vacate()
        self._server.send(message)

    def _vacate(self) -> None:
        self._occupant = None
        self._idle_since = time.monotonic()
        self._exit_at = self._idle_since + EXIT_ACK_S if self._stopping else math.inf
        for fd in self._locks.values():
            os.close(fd)
        self._locks.clear()

    def _reap(self) -> None:
        with_signals = os.read(self._child_fd, 512)
        assert with_signals
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:  # ECHILD: the tree is gone
                if self._occupant is not None and self._occupant.has_started:
                    self._occupant.on_tree_gone()
                return
            if pid == 0:
                if self._occupant is not None:
                    self._occupant.on_left()
                return
            if self._occupant is not None:
                self._occupant.on_reaped(pid, status, usage)


def boot_id() -> str:
    """Return the kernel's name for this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _readable(key: bytes) -> tuple[str, int]:
    task, attempt = frames.split_key(key)
    return task.hex(), attempt


def _watch_children() -> int:
    """Make every SIGCHLD readable on a descriptor, which is returned."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    return reader
