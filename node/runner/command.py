"""How one command runs: started, watched, ended, and reported once its whole tree is gone."""

from __future__ import annotations

import math
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

from ...worker import frames
from ...worker.frames import Finished, Message, OutputGrew, Run, Started
from .answers import write_intent
from .ending import Ending
from .poller import Poller
from .progress import LOOK_EVERY_S, ProgressFile
from .spawn import SpawnError, spawn
from .streams import Pipe, Stream

STARTED_AFTER_S = 0.1
HINT_EVERY_S = 0.1


class Command:
    """The occupant that is a command. `emit` says something now, `finish` is the one answer."""

    kind = "command"

    def __init__(
        self,
        order: Run,
        directory: Path,
        poller: Poller,
        emit: Callable[[Message], None],
        finish: Callable[[Finished], None],
    ) -> None:
        self.order = order
        self.key = frames.join_key(order.task, order.attempt)
        self._folder = directory / "a" / frames.attempt_key(order.task, order.attempt)
        self._work = self._folder / "work"
        self._directory = directory
        self._poller = poller
        self._emit = emit
        self._finish = finish
        self.pid = 0
        self._returncode: int | None = None
        self._usage: resource.struct_rusage | None = None
        self._ending: Ending | None = None
        self._pipes: list[Pipe] = []
        self._started_at = math.inf
        self._started_wall_ns = 0
        self._said_started = False
        self._hint_at = math.inf
        self._progress = ProgressFile(self._folder / "progress")

    def start(self) -> None:
        """Start the command; one that cannot start is answered at once."""
        self._started_at = time.monotonic()
        self._progress.next_at = self._started_at + LOOK_EVERY_S
        self._started_wall_ns = time.time_ns()
        order, tail_bytes = self.order, frames.TAIL_BYTES_MAX
        for name in ("out", "err"):
            path = self._folder / name
            stream = Stream(path, bytes_max=order.output_bytes_max, tail_bytes=tail_bytes)
            self._pipes.append(Pipe(stream))
        try:
            self._make_folder()
            self.pid = self._spawn()
        except SpawnError as error:
            self._report(error.how, None, error.message)
            return
        for pipe in self._pipes:
            pipe.watch(self._poller, self._on_output)

    def stop(self, how: str, grace_s: float) -> None:
        """Begin the end: TERM now, KILL after the grace. A second call only shortens the grace."""
        now = time.monotonic()
        if self._ending is None:
            self._ending = Ending(how, grace_s=grace_s, now=now)
        else:
            self._ending.hasten(grace_s, now)

    def held(self) -> list[tuple[bytes, bool]]:
        """Return the attempt that is not answered yet, and that it has started."""
        return [(self.key, True)]

    def on_reaped(self, pid: int, status: int, usage: resource.struct_rusage) -> None:
        """Note the exit of one process of the tree."""
        if pid == self.pid:
            self._returncode = os.waitstatus_to_exitcode(status)
            self._usage = usage

    def on_left(self) -> None:
        """Act on processes that outlive the main one: at a normal end they are killed."""
        if self._returncode is not None and self._ending is None:
            self._ending = Ending("exit", grace_s=0.0, now=time.monotonic())

    def on_tree_gone(self) -> None:
        """Take the last output and answer: nothing of the tree is left."""
        for pipe in self._pipes:
            pipe.drain()
        self._report(self._ending.how if self._ending else "exit", self._returncode)

    def deadline(self) -> float:
        """Return the monotonic time of the next thing to do."""
        times = [self._hint_at, self._progress.next_at]
        if not self._said_started:
            times.append(self._started_at + STARTED_AFTER_S)
        if self._ending is not None:
            times.append(self._ending.next_at)
        elif self.order.timeout_s > 0:
            times.append(self._started_at + self.order.timeout_s)
        return min(times)

    def on_time(self, now: float) -> None:
        """Do what is due."""
        timeout_s = self.order.timeout_s
        if self._ending is not None:
            self._ending.on_time(now)
        elif timeout_s > 0 and now >= self._started_at + timeout_s:
            self._ending = Ending("timeout", grace_s=self.order.grace_s, now=now)
        if not self._said_started and now >= self._started_at + STARTED_AFTER_S:
            self._said_started = True
            order = self.order
            wall_ns = self._started_wall_ns
            self._emit(Started(order.task, order.attempt, self.pid, wall_ns))
        if now >= self._hint_at:
            self._hint_at = math.inf
            self._say_output()
        self._say_progress(now)

    def _make_folder(self) -> None:
        try:
            self._work.mkdir(parents=True, mode=0o700, exist_ok=True)
            write_intent(self._folder, self.order.task, self.order.attempt)
        except OSError as error:
            message = f"cannot make {self._folder} on this node: {error.strerror}"
            raise SpawnError("spawn_failed", message) from error

    def _spawn(self) -> int:
        order = self.order
        cwd = Path(order.cwd) if order.cwd is not None else self._work
        env = dict(order.env)
        env["REMUDA_ATTEMPT"] = frames.attempt_key(order.task, order.attempt)
        env["REMUDA_RUNNER"] = self._directory.name
        env["REMUDA_TASK_DIR"] = str(self._work)
        env["REMUDA_PROGRESS"] = str(self._progress.path)
        stdin = _open_stdin(order, cwd)
        try:
            fds = {0: stdin, 1: self._pipes[0].child_fd, 2: self._pipes[1].child_fd}
            return spawn(order.argv, env, cwd, fds)
        finally:
            os.close(stdin)

    def _on_output(self) -> None:
        if self._hint_at == math.inf:
            self._hint_at = time.monotonic() + HINT_EVERY_S

    def _say_output(self) -> None:
        out, err = (pipe.stream for pipe in self._pipes)
        out.save_tail()
        err.save_tail()
        self._emit(OutputGrew(self.order.task, self.order.attempt, out.total, err.total))

    def _say_progress(self, now: float) -> None:
        said = self._progress.on_time(now)
        if said is not None:
            self._emit(frames.Progress(self.order.task, self.order.attempt, *said))

    def _report(self, how: str, returncode: int | None, message: str = "") -> None:
        out, err = (pipe.stream for pipe in self._pipes)
        for pipe in self._pipes:
            pipe.close()
        usage = self._usage
        self._say_progress(math.inf)
        self._finish(
            Finished(
                self.order.task,
                self.order.attempt,
                how,
                returncode,
                message=message,
                leftovers=len(self._ending.killed) if self._ending and how == "exit" else 0,
                out_bytes=out.total,
                err_bytes=err.total,
                out_inline=_inline(out),
                err_inline=_inline(err),
                started_wall_ns=self._started_wall_ns,
                run_ns=int((time.monotonic() - self._started_at) * 1e9),
                cpu_ns=int((usage.ru_utime + usage.ru_stime) * 1e9) if usage else 0,
                memory_bytes_peak=usage.ru_maxrss * 1024 if usage else 0,
            )
        )


def _open_stdin(order: Run, cwd: Path) -> int:
    if order.stdin_blob is not None:
        fd = os.memfd_create("stdin", os.MFD_CLOEXEC)
        os.write(fd, order.stdin_blob)  # memory: never short below the frame bound
        os.lseek(fd, 0, os.SEEK_SET)
        return fd
    path = cwd / order.stdin_path if order.stdin_path is not None else Path(os.devnull)
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        message = f"cannot read the standard input {path}: {error.strerror}"
        raise SpawnError("stdin_missing", message) from error


def _inline(stream: Stream) -> bytes:
    if stream.total > frames.INLINE_BYTES_MAX:
        return b""
    return stream.tail(frames.INLINE_BYTES_MAX)
