"""How one command runs: started, watched, ended, and reported once its whole tree is gone."""

from __future__ import annotations

import errno
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

from ...worker import frames
from ...worker.frames import Finished, Message, Run
from .answers import write_intent
from .command_limits import CommandLimits
from .command_news import News
from .ending import Ending
from .hands import OWN, Hands
from .keeper import Keeper
from .lending import lent
from .poller import Poller
from .spawn import SpawnError
from .streams import Pipe, Stream

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


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
        keeper: Keeper | None = None,
    ) -> None:
        self.order = order
        self._keeper = keeper
        self.hands: Hands = keeper or OWN
        self.key = frames.join_key(order.task, order.attempt)
        self._folder = directory / "a" / frames.attempt_key(order.task, order.attempt)
        self._work = Path(order.task_dir) if order.task_dir else self._folder / "work"
        self._directory = directory
        self._poller = poller
        self._finish = finish
        self.pid = 0
        self._returncode: int | None = None
        self._usage: resource.struct_rusage | None = None
        self.ending: Ending | None = None
        self._pipes: list[Pipe] = []
        self._started_at = 0.0
        self._started_wall_ns = 0
        # What is another user's lies in the attempt's own directory: the folder of output is ours.
        self._progress = (self._work.parent if keeper else self._folder) / "progress"
        self.limits = CommandLimits(order)
        self._news = News(order, self._progress, self._pipes, emit, self.limits.heard)

    @property
    def surroundings(self) -> tuple[dict[str, str], str]:
        """Return environment and directory of the command, for what runs beside it."""
        env = dict(self.order.env)
        env["REMUDA_ATTEMPT"] = frames.attempt_key(self.order.task, self.order.attempt)
        env["REMUDA_RUNNER"] = self._directory.name
        env["REMUDA_TASK_DIR"] = str(self._work)
        env["REMUDA_PROGRESS"] = str(self._progress)
        return env, str(self._work) if self.order.cwd is None else self.order.cwd

    def start(self) -> None:
        """Start the command; one that cannot start is answered at once."""
        self._started_at = time.monotonic()
        self._started_wall_ns = time.time_ns()
        self.limits.begin(self._started_at)
        self._news.begin(self._started_at, self._started_wall_ns)
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
        self._news.spawned(self.pid)
        for pipe in self._pipes:
            pipe.watch(self._poller, self._news.on_output)

    def stop(self, how: str, grace_s: float) -> None:
        """Begin the end: TERM now, KILL after the grace. A second call only shortens the grace."""
        now = time.monotonic()
        if self.ending is None:
            self.ending = Ending(how, grace_s=grace_s, now=now, hands=self.hands)
        else:
            self.ending.hasten(grace_s, now)

    def is_running(self, key: bytes) -> bool:
        """Say whether this is the attempt, and runs and is not being ended."""
        lives = self.pid > 0 and self._returncode is None and self.ending is None
        return lives and key == self.key

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
        if self._returncode is not None and self.ending is None:
            now = time.monotonic()
            self.ending = Ending("exit", grace_s=0.0, now=now, hands=self.hands)

    def on_tree_gone(self, memory_evidence: str) -> None:
        """Take the last output and answer: nothing of the tree is left."""
        for pipe in self._pipes:
            pipe.drain()
        how = self.ending.how if self.ending else "exit"
        failed = how == "exit" and self._returncode != 0
        evidence = memory_evidence if failed else ""
        message = ""
        if how == "silence":
            message = f"printed nothing and said no progress for {self.order.silence_s} s"
        self._report(how, self._returncode, message, evidence)

    def deadline(self) -> float:
        """Return the monotonic time of the next thing to do."""
        limit_at = self.limits.deadline() if self.ending is None else self.ending.next_at
        return min(limit_at, self._news.deadline())

    def on_time(self, now: float) -> None:
        """Do what is due."""
        if self.ending is not None:
            self.ending.on_time(now)
        elif now >= self.limits.deadline():
            if self.limits.is_silent(now):
                # It may have said something since the last look.
                self._news.look_at_progress(now)
            how = self.limits.over(now)
            if how:
                self.stop(how, self.order.grace_s)
        self._news.on_time(now)

    def _make_folder(self) -> None:
        try:
            for folder in (self._folder, self._work):
                folder.mkdir(parents=True, mode=0o700, exist_ok=True)
            write_intent(self._folder, self.order.task, self.order.attempt)
        except OSError as error:
            message = f"cannot make {self._folder} on this node: {error.strerror}"
            how = "disk_full" if error.errno in NO_ROOM else "spawn_failed"
            raise SpawnError(how, message) from error

    def _spawn(self) -> int:
        order = self.order
        env, folder = self.surroundings
        cwd = Path(folder)
        stdin = _open_stdin(order, cwd)
        try:
            fds = {0: stdin, 1: self._pipes[0].child_fd, 2: self._pipes[1].child_fd}
            with lent(self._keeper, self._work, self._progress):
                return self.hands.spawn(order.argv, {**env, **order.secrets}, cwd, fds)
        finally:
            os.close(stdin)

    def _report(
        self, how: str, returncode: int | None, message: str = "", memory_evidence: str = ""
    ) -> None:
        out, err = (pipe.stream for pipe in self._pipes)
        for pipe in self._pipes:
            pipe.close()
        usage = self._usage
        self._news.look_at_progress(time.monotonic())
        self._finish(
            Finished(
                self.order.task,
                self.order.attempt,
                how,
                returncode,
                message=message,
                leftovers=len(self.ending.killed) if self.ending and how == "exit" else 0,
                out_bytes=out.total,
                err_bytes=err.total,
                out_inline=_inline(out),
                err_inline=_inline(err),
                started_wall_ns=self._started_wall_ns,
                run_ns=int((time.monotonic() - self._started_at) * 1e9),
                cpu_ns=int((usage.ru_utime + usage.ru_stime) * 1e9) if usage else 0,
                memory_bytes_peak=usage.ru_maxrss * 1024 if usage else 0,
                memory_evidence=memory_evidence,
                user=self.order.user,
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
    if stream.total > frames.INLINE_BYTES_MAX and not stream.end_is_unsaved:
        return b""
    return stream.tail(frames.INLINE_BYTES_MAX)
