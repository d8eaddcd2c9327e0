"""How a worker's Python stack is taken, also while it is stuck in C code.

A signal makes `faulthandler` in the worker write it to a file in memory that both sides hold. It
does not say when it has written the last line, so the text counts once it stopped growing.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
from collections.abc import Callable

SIGNAL = signal.SIGUSR2
LOOK_S = 0.01
SETTLED_S = 0.03
GIVE_UP_S = 0.5
"""A worker that wrote nothing for so long cannot: it is stopped, in the kernel, or took the signal
for itself."""
STACK_BYTES_MAX = 64 << 10
OUR_FILES = ("/remuda/worker/", "/start/worker.py")
SPEAKER = "/remuda/worker/speaker.py"
NO_FRAME = "  (no Python frame of the task: the function that was called is not written in Python)"
HEADERS = ("Thread ", "Current thread ")

Then = Callable[[str], None]


class StackFile:
    """The file, and who waits for what is written to it. `next_at` is when to look."""

    def __init__(self) -> None:
        self.next_at = math.inf
        self.fd = os.memfd_create("stack", os.MFD_CLOEXEC)
        self._waiting: list[Then] = []
        self._size = 0
        self._grown_at = 0.0
        self._give_up_at = 0.0

    def take(self, pid: int, now: float, then: Then) -> None:
        """Take the stack of `pid` and hand it on, "" when there is none; joins one in progress."""
        self._waiting.append(then)
        if len(self._waiting) > 1:
            return
        # The worker writes at the offset that it shares with us.
        os.ftruncate(self.fd, 0)
        os.lseek(self.fd, 0, os.SEEK_SET)
        self._size, self._grown_at = 0, now
        self._give_up_at = now + GIVE_UP_S
        self.next_at = now + LOOK_S
        # It ended by itself meanwhile, or became another user's.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, SIGNAL)

    def on_time(self, now: float) -> None:
        """Look whether all is written."""
        if now < self.next_at:
            return
        self.next_at = now + LOOK_S
        size = os.fstat(self.fd).st_size
        if size != self._size:
            self._size, self._grown_at = size, now
        elif (size and now - self._grown_at >= SETTLED_S) or now >= self._give_up_at:
            self.hand_on()

    def hand_on(self) -> None:
        """Give what there is to those who wait: it is complete, or the worker is gone."""
        self.next_at = math.inf
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        size = os.fstat(self.fd).st_size
        data = os.pread(self.fd, STACK_BYTES_MAX, max(0, size - STACK_BYTES_MAX))
        text = users_part(data.decode(errors="replace"))
        for then in waiting:
            then(text)

    def close(self) -> None:
        """Close the file."""
        os.close(self.fd)


def users_part(dump: str) -> str:
    """Leave out the worker's own frames, and threads that have no others.

    A call that shows no frame of its own runs a function that is not written in Python.
    """
    kept = []
    shows_none = False
    for block in dump.split("\n\n"):
        lines = block.splitlines()
        frames = [line for line in lines if not line.startswith(HEADERS)]
        if any(SPEAKER in line for line in frames):
            continue
        theirs = [line for line in frames if not any(part in line for part in OUR_FILES)]
        if theirs:
            kept.append("\n".join([*(line for line in lines if line not in frames), *theirs]))
        else:
            shows_none |= bool(frames)
    if kept:
        return "\n\n".join(kept) + "\n"
    return f"{NO_FRAME}\n" if shows_none else ""
