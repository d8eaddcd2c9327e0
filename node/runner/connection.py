"""How the runner speaks with its agent: one unix stream, the newest connection wins."""

from __future__ import annotations

import os
import socket
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from ...worker import frames
from ...worker.frames import FrameError, Parser
from .poller import Poller

RECV_BYTES = 256 << 10
BUFFER_BYTES_MAX = 8 << 20
"""An agent that leaves this much unread is dropped; it re-attaches and asks again."""
LOW_WATER_BYTES = 1 << 20
DESCRIPTORS_MAX = 64


class Connection:
    """One attached agent."""

    def __init__(
        self,
        sock: socket.socket,
        poller: Poller,
        on_frame: Callable[[int, bytes, list[int]], None],
        on_drained: Callable[[], None],
    ) -> None:
        sock.settimeout(0.0)
        self.open = True
        self._sock = sock
        self._poller = poller
        self._on_frame = on_frame
        self._on_drained = on_drained
        self._parser = Parser()
        self._queue: deque[tuple[memoryview, Sequence[int]]] = deque()
        self._queued_bytes = 0
        self._fds: list[int] = []
        poller.add(sock.fileno(), self._on_readable, self._on_writable)

    @property
    def has_room(self) -> bool:
        """Say whether answers may be added without crowding the buffer."""
        return self.open and self._queued_bytes < LOW_WATER_BYTES

    def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Queue a frame and send what goes without blocking; too much unread closes."""
        if not self.open:
            return
        self._queue.append((memoryview(data), fds))
        self._queued_bytes += len(data)
        self._flush()
        if self._queued_bytes > BUFFER_BYTES_MAX:
            self.close()

    def close(self) -> None:
        """Close at once; what was not read is never acted upon."""
        if not self.open:
            return
        self.open = False
        self._poller.remove(self._sock.fileno())
        self._sock.close()
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()
        self._queue.clear()

    def _flush(self) -> None:
        while self._queue:
            data, fds = self._queue[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
            try:
                sent = self._sock.sendmsg([data], rights)
            except BlockingIOError:
                break
            except OSError:  # the agent is gone; the next one gets everything again
                self.close()
                return
            self._queued_bytes -= sent
            if sent == len(data):
                self._queue.popleft()
            else:
                self._queue[0] = (data[sent:], ())
        self._poller.want_write(self._sock.fileno(), wanted=bool(self._queue))

    def _on_writable(self) -> None:
        self._flush()
        if self.has_room:
            self._on_drained()

    def _on_readable(self) -> None:
        space = socket.CMSG_SPACE(DESCRIPTORS_MAX * array("i").itemsize)
        try:
            data, rights, _, _ = self._sock.recvmsg(RECV_BYTES, space, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        for _, _, payload in rights:
            found = array("i")
            found.frombytes(payload[: len(payload) - len(payload) % found.itemsize])
            self._fds += found
        if not data:
            self.close()
            return
        try:
            for kind, body in self._parser.feed(data):
                if not self.open:
                    return
                self._on_frame(kind, body, self._fds)
        except FrameError:  # not our agent, or not our version: it may attach again
            self.close()


class Server:
    """The socket in the runner's directory, and the one connection that counts."""

    def __init__(
        self,
        directory: Path,
        poller: Poller,
        on_frame: Callable[[int, bytes, list[int]], None],
        on_attached: Callable[[], None],
        on_drained: Callable[[], None],
    ) -> None:
        self.connection: Connection | None = None
        self._poller = poller
        self._on_frame = on_frame
        self._on_attached = on_attached
        self._on_drained = on_drained
        self._path = directory / "sock"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._listener.settimeout(0.0)
        # The working directory is the runner's own: an absolute path may exceed sun_path.
        self._listener.bind("sock")
        self._listener.listen(8)
        # First, so that a newer connection closes the old one before its orders are read.
        poller.add(self._listener.fileno(), self._on_accept, first=True)

    def send(self, message: frames.Message, fds: Sequence[int] = ()) -> None:
        """Send to the agent, if one is attached."""
        if self.connection is not None:
            self.connection.send(frames.encode(message), fds)

    def close(self) -> None:
        """Stop listening and close the connection unread."""
        self._poller.remove(self._listener.fileno())
        self._listener.close()
        self._path.unlink(missing_ok=True)
        if self.connection is not None:
            self.connection.close()

    def _on_accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError:  # out of descriptors, or gone before we looked
                return
            if self.connection is not None:
                self.connection.close()
            self.connection = Connection(sock, self._poller, self._on_frame, self._on_drained)
            self._on_attached()
