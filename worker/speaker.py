"""When outcomes leave the worker: at the end of a batch, or 5 ms after the first one waits."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Sequence

from . import batches, frames
from .batches import Outcome
from .capture import Capture
from .state import RunningCall

FLUSH_S = 0.005
SLOW_S = 0.05
QUIET_TICKS = 200
HINT_EVERY_S = 0.1


class Speaker:
    """The writing side of descriptor 3, shared by the main thread and a flushing one.

    The flushing thread exists because a short call may be followed by a long one in the same
    batch: its outcome must not wait for the neighbour. It sleeps while the worker is idle.
    """

    def __init__(
        self, sock: socket.socket, running: RunningCall, out: Capture, err: Capture
    ) -> None:
        self._sock = sock
        self._running = running
        self._out = out
        self._err = err
        self._send_lock = threading.Lock()
        self._pending: list[Outcome] = []
        self._flushes = 0
        self._busy = False
        self._parked = False
        self._wake = threading.Event()
        self._hinted: tuple[int, int] = (0, 0)
        self._hint_at = 0.0
        self._thread = threading.Thread(target=self._tick_forever, name="remuda", daemon=True)
        self._thread.start()
        os.register_at_fork(before=self._before_fork, after_in_child=self._after_fork)

    def send(self, frame: bytes) -> None:
        """Send one frame; without a runner there is nobody to work for."""
        try:
            with self._send_lock:
                self._sock.sendall(frame)
        except OSError:  # the runner was killed, or this is a fork that must stay silent
            os._exit(1)

    def begin(self) -> None:
        """Say that a batch starts."""
        self._busy = True
        if self._parked:
            self._wake.set()

    def add(self, outcome: Outcome) -> None:
        """Take one outcome (the main thread)."""
        self._pending.append(outcome)

    def end(self) -> None:
        """Send what is left at the end of a batch."""
        self._busy = False
        self.flush()

    def flush(self) -> None:
        """Send the outcomes that wait."""
        # Only the front is taken: an append in between lands behind it and stays.
        with self._send_lock:
            ready = self._pending[:]
            if not ready:
                return
            del self._pending[: len(ready)]
            self._flushes += 1
            frame = frames.raw_frame(frames.RESULTS, batches.pack_results(0, ready))
            try:
                self._sock.sendall(frame)
            except OSError:  # as in send
                os._exit(1)

    def _tick_forever(self) -> None:
        quiet = 0
        seen = -1
        while True:
            time.sleep(SLOW_S if quiet > QUIET_TICKS else FLUSH_S)
            quiet += 1
            if self._pending:
                quiet = 0
                if seen == self._flushes:
                    self.flush()
                seen = self._flushes
            if self._say_news():
                quiet = 0
            if quiet > QUIET_TICKS and not self._busy:
                self._park()
                quiet = 0

    def _park(self) -> None:
        self._wake.clear()
        self._parked = True
        if not self._busy and not self._pending:
            self._wake.wait()
        self._parked = False

    def _say_news(self) -> bool:
        """Send progress and the growth of output, at most every 100 ms."""
        running = self._running
        if running.members:
            return self._say_news_of(running.members)
        task, attempt, said = running.task, running.attempt, running.said
        totals = (self._out.total, self._err.total)
        if running.task is not task:
            return True  # it turned to another call while we looked
        if task is None or (said is None and totals == self._hinted):
            return False
        now = time.monotonic()
        if now < self._hint_at:
            return True
        self._hint_at = now + HINT_EVERY_S
        if said is not None:
            running.said = None
            self.send(frames.encode(frames.Progress(task, attempt, *said)))
        if totals != self._hinted and any(totals):
            self._out.flush()
            self._err.flush()
            self.send(frames.encode(frames.OutputGrew(task, attempt, *totals)))
        self._hinted = totals
        return True

    def _say_news_of(self, members: Sequence[RunningCall]) -> bool:
        """Do the same for the calls of a batch, which print and tell side by side."""
        now = time.monotonic()
        if now < self._hint_at:
            return True
        self._hint_at = now + HINT_EVERY_S
        self._out.flush()
        self._err.flush()
        for each in members:
            if each.task is None:
                continue
            said, each.said = each.said, None
            if said is not None:
                self.send(frames.encode(frames.Progress(each.task, each.attempt, *said)))
            out, err = (sink.total for sink in each.sinks)
            if (out, err) != each.hinted and (out or err):
                each.hinted = out, err
                self.send(frames.encode(frames.OutputGrew(each.task, each.attempt, out, err)))
        return True

    def _before_fork(self) -> None:
        # What is buffered must not be written twice.
        self._out.flush()
        self._err.flush()

    def _after_fork(self) -> None:
        # A child of the user's must never speak for this worker.
        os.close(self._sock.detach())
        self._send_lock = threading.Lock()
