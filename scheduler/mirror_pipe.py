"""How the scheduler holds its mirror process: two pipes that it never waits for, and its end."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import termios
from typing import Any

from .mirror_frames import BrokenStream, Unpacker

COMMAND = [sys.executable, "-P", "-m", "remuda.scheduler.mirror_process"]
PIPE_BYTES = 1 << 20  # as much as Linux lets anybody have
READ_BYTES = 64 * 1024
CLOSE_WAIT_S = 1.0


class MirrorPipe:
    """One mirror process at a time; nothing here blocks but `close`, and that for a moment."""

    def __init__(self, command: list[str] | None = None) -> None:
        self._command = COMMAND if command is None else command
        self._child: subprocess.Popen[bytes] | None = None
        self._ended: list[subprocess.Popen[bytes]] = []
        self._unsent = b""
        self._unpacker = Unpacker()

    @property
    def is_open(self) -> bool:
        """Tell whether there is a process to talk to, as far as we know."""
        return self._child is not None

    @property
    def pid(self) -> int:
        """Return the pid of the process, 0 without one."""
        return self._child.pid if self._child else 0

    def start(self) -> None:
        """Start a process; raises OSError. It ends by itself when its pipe does, however we die."""
        self.drop()
        child = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C at our terminal is for us
            bufsize=0,
        )
        assert child.stdin is not None
        assert child.stdout is not None
        for stream in (child.stdin, child.stdout):
            os.set_blocking(stream.fileno(), False)
        with contextlib.suppress(OSError):  # a smaller pipe only overflows earlier
            fcntl.fcntl(child.stdin.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._child = child

    def send(self, frame: bytes) -> bool:
        """Write a frame if there is room for it now; False says that nothing of it was taken.

        The rest of a frame that was taken in part goes first.
        """
        if not self._flush():
            return False
        self._unsent = frame
        if self._flush():
            return True
        if self._child is not None and len(self._unsent) < len(frame):
            return True
        self._unsent = b""
        return False

    @property
    def backlog_bytes(self) -> int:
        """Tell how much the process has not read yet."""
        if self._child is None or self._child.stdin is None:
            return 0
        waiting = fcntl.ioctl(self._child.stdin.fileno(), termios.FIONREAD, b"\0" * 4)
        return int.from_bytes(waiting, sys.byteorder) + len(self._unsent)

    def receive(self) -> list[list[Any]] | None:
        """Return the frames that the process wrote; None when it ended, and is dropped."""
        frames: list[list[Any]] = []
        while self._child is not None and self._child.stdout is not None:
            try:
                chunk = os.read(self._child.stdout.fileno(), READ_BYTES)
                frames += self._unpacker.feed(chunk)
            except BlockingIOError:
                return frames
            except BrokenStream:
                break
            if not chunk:
                break
        self.drop()
        return None

    def drop(self) -> None:
        """Kill the process, if there is one, without waiting for its death."""
        child, self._child = self._child, None
        self._unsent = b""
        self._unpacker = Unpacker()
        if child is None:
            return
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                stream.close()
        child.kill()
        self._ended.append(child)
        self._reap()

    def close(self) -> None:
        """End the process and wait a moment for it."""
        self.drop()
        for child in self._ended:
            try:
                child.wait(CLOSE_WAIT_S)
            except subprocess.TimeoutExpired:
                continue  # killed, but in a call that the kernel does not interrupt
        self._reap()

    def _flush(self) -> bool:
        """Write what is left of a frame; tell whether all of it is gone."""
        while self._unsent:
            if self._child is None or self._child.stdin is None:
                return False
            try:
                sent = os.write(self._child.stdin.fileno(), self._unsent)
            except BlockingIOError:
                return False
            except BrokenPipeError:
                self.drop()
                return False
            self._unsent = self._unsent[sent:]
        return self._child is not None

    def _reap(self) -> None:
        self._ended = [child for child in self._ended if child.poll() is None]
