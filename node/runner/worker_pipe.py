"""How the runner speaks with its worker: one socket pair, never blocking."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable

from ...worker import frames
from .poller import Poller

RECV_BYTES = 256 << 10
_READS_MAX = 1024


class WorkerPipe:
    """The runner's end; `on_frame` gets what the worker says, `on_broken` that it said nonsense."""

    def __init__(
        self,
        poller: Poller,
        on_frame: Callable[[int, bytes], None],
        on_broken: Callable[[], None],
    ) -> None:
        self.queued_bytes = 0
        self._poller = poller
        self._on_frame = on_frame
        self._on_broken = on_broken
        self._parser = frames.Parser()
        self._queue: deque[memoryview] = deque()
        self._sock, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.settimeout(0.0)
        poller.add(self._sock.fileno(), self._on_readable, self._flush)

    @property
    def child_fd(self) -> int:
        """Return the worker's end, until `started`."""
        return self._theirs.fileno()

    def started(self) -> None:
        """Close our copy of the worker's end."""
        self._theirs.close()

    def send(self, data: bytes) -> None:
        """Queue a frame and send what goes."""
        self._queue.append(memoryview(data))
        self.queued_bytes += len(data)
        if len(self._queue) == 1:
            self._flush()

    def drain(self) -> None:
        """Take what a dead worker said last."""
        self._read(_READS_MAX)

    def close(self) -> None:
        """Close our end."""
        self._poller.remove(self._sock.fileno())
        self._sock.close()
        self._theirs.close()

    def _flush(self) -> None:
        while self._queue:
            data = self._queue[0]
            try:
                sent = self._sock.send(data)
            except BlockingIOError:
                break
            except OSError:  # it is dying: its death is handled when it is reaped
                self._queue.clear()
                self.queued_bytes = 0
                break
            self.queued_bytes -= sent
            if sent == len(data):
                self._queue.popleft()
            else:
                self._queue[0] = data[sent:]
        self._poller.want_write(self._sock.fileno(), wanted=bool(self._queue))

    def _on_readable(self) -> None:
        if not self._read(1):
            self._poller.remove(self._sock.fileno())

    def _read(self, reads_max: int) -> bool:
        """Read on; return False once nothing more will come."""
        for _ in range(reads_max):
            try:
                data = self._sock.recv(RECV_BYTES)
            except BlockingIOError:
                return True
            except OSError:  # it died with unread calls
                return False
            if not data:
                return False
            try:
                for kind, body in self._parser.feed(data):
                    self._on_frame(kind, body)
            except frames.FrameError:  # somebody else writes to the worker's descriptor
                self._on_broken()
                return False
        return True
