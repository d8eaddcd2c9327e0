"""How output is kept: the head in a file up to a bound, the last 64 KiB beside it, all counted."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Callable
from pathlib import Path

from .poller import Poller

CHUNK_BYTES = 256 << 10
READS_PER_EVENT = 8
DRAIN_READS_MAX = 64
_F_SETPIPE_SZ = 1031
_PIPE_BYTES = 1 << 20
_TOTAL = struct.Struct("<Q")


class Stream:
    """One output stream: written lazily, so that a silent task makes no file.

    `<path>` holds the first `bytes_max` bytes. Once more than that came, `<path>.tail` holds the
    total (u64) and the last `tail_bytes` bytes; it is renewed by `save_tail`. Where the disk takes
    neither, `end_is_unsaved` and the end is in memory alone.
    """

    def __init__(self, path: Path, *, bytes_max: int, tail_bytes: int) -> None:
        self.total = 0
        self.end_is_unsaved = False
        self._path = path
        self._bytes_max = bytes_max
        self._tail_bytes = tail_bytes
        self._tail = bytearray()
        self._fd = -1
        self._head = 0
        self._full = False
        self._tail_dirty = False

    def write(self, data: bytes) -> None:
        """Take more output; a full disk cuts the head instead of raising."""
        self.total += len(data)
        self._tail += data[-self._tail_bytes :]
        if len(self._tail) > 2 * self._tail_bytes:
            del self._tail[: -self._tail_bytes]
        if not self._full:
            self._full = not self._write_head(data[: self._bytes_max - self._head])
            self._full |= self.total > self._head
        self._tail_dirty = self._full

    def tail(self, bytes_max: int) -> bytes:
        """Return the last bytes, at most `bytes_max` or what is remembered."""
        return bytes(self._tail[-min(bytes_max, self._tail_bytes) :])

    def save_tail(self) -> None:
        """Write the tail file if the head no longer holds everything."""
        if not self._tail_dirty:
            return
        self._tail_dirty = False
        new = self._path.with_name(self._path.name + ".tail.new")
        try:
            new.write_bytes(_TOTAL.pack(self.total) + self.tail(self._tail_bytes))
            new.replace(self._path.with_name(self._path.name + ".tail"))
        except OSError:  # a full disk loses the tail's renewal, never the task
            self.end_is_unsaved = True
        else:
            self.end_is_unsaved = False

    def close(self) -> None:
        """Write the tail and close the file."""
        self.save_tail()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write_head(self, data: bytes) -> bool:
        """Say whether all went to the file: a full or lost disk only cuts the head."""
        try:
            if self._fd < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                self._fd = os.open(self._path, flags, 0o600)
            while data:
                written = os.write(self._fd, data)
                self._head += written
                data = data[written:]
        except OSError:  # the disk is full or gone: keep counting, keep the tail
            return False
        return True


class Pipe:
    """The reading end of a child's stdout or stderr, drained without blocking."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._poller: Poller | None = None
        self._on_data: Callable[[], None] | None = None
        self.fd, self.child_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.fd, False)
        # Over the user's pipe quota the default of 64 KiB stays.
        with contextlib.suppress(OSError):
            fcntl.fcntl(self.fd, _F_SETPIPE_SZ, _PIPE_BYTES)

    def watch(self, poller: Poller, on_data: Callable[[], None] | None = None) -> None:
        """Close our copy of the child's end and read whenever there is something."""
        os.close(self.child_fd)
        self.child_fd = -1
        self._poller = poller
        self._on_data = on_data
        poller.add(self.fd, self._on_readable)

    def drain(self) -> None:
        """Read what is left, never waiting for the end: a stranger may hold the other side."""
        self._read(DRAIN_READS_MAX)

    def close(self) -> None:
        """Close what is open, and the stream."""
        if self._poller is not None:
            self._poller.remove(self.fd)
        for fd in (self.fd, self.child_fd):
            if fd >= 0:
                os.close(fd)
        self.fd = self.child_fd = -1
        self.stream.close()

    def _on_readable(self) -> None:
        if not self._read(READS_PER_EVENT) and self._poller is not None:
            self._poller.remove(self.fd)
        if self._on_data is not None:
            self._on_data()

    def _read(self, reads_max: int) -> bool:
        """Move what is there to the stream; return False once the pipe has ended."""
        for _ in range(reads_max):
            try:
                data = os.read(self.fd, CHUNK_BYTES)
            except BlockingIOError:
                return True
            if not data:
                return False
            self.stream.write(data)
        return True
