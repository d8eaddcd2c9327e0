"""Where `print` goes in a worker: to files of the call that runs, bounded, none if it is silent."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import threading
from collections.abc import Callable, Sequence

BUFFER_BYTES = 8 << 10
TAIL_BYTES = 64 << 10
_TOTAL = struct.Struct("<Q")


class Sink:
    """One stream of one call: its beginning on disk, as far as the bound allows, and its tail.

    `folder` makes the directory of the call and returns it; it is asked at the first byte.
    """

    __slots__ = ("_bytes_max", "_fd", "_folder", "_head", "_name", "_tail", "total")

    def __init__(self, name: str, bytes_max: int, folder: Callable[[], str]) -> None:
        self.total = 0
        self._name = name
        self._bytes_max = bytes_max
        self._folder = folder
        self._fd = -1
        self._head = 0
        self._tail = bytearray()

    def take(self, data: bytes) -> None:
        """Write to the call's file, which stays open until `end` or `close`."""
        self.total += len(data)
        self._tail += data[-TAIL_BYTES:]
        del self._tail[:-TAIL_BYTES]
        head = data[: max(0, self._bytes_max - self._head)]
        if not head:
            return
        self._head += len(head)
        # A full disk cuts the output; it does not fail the call.
        with contextlib.suppress(OSError):
            if self._fd < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                self._fd = os.open(f"{self._folder()}/{self._name}", flags, 0o600)
            _write_all(self._fd, head)

    def close(self) -> None:
        """Close the file; more can be taken."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def end(self) -> int:
        """Finish the call's files and return how many bytes it wrote."""
        if self.total > self._head:
            self._save_tail()
        self.close()
        total, self.total = self.total, 0
        self._head = 0
        self._tail.clear()
        return total

    def _save_tail(self) -> None:
        with contextlib.suppress(OSError):  # a full disk, as above
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            fd = os.open(f"{self._folder()}/{self._name}.tail", flags, 0o600)
            try:
                _write_all(fd, _TOTAL.pack(self.total) + bytes(self._tail))
            finally:
                os.close(fd)


class Capture(io.RawIOBase):
    """One of stdout and stderr. While `active` it writes for the calls that run, else to the log.

    That is one call, whose folder is asked for as in `Sink`, or those of a batch, each with a sink.
    """

    def __init__(self, name: str, log_fd: int, bytes_max: int, folder: Callable[[], str]) -> None:
        super().__init__()
        self._name = name
        self.active = False
        self._log_fd = log_fd
        self._bytes_max = bytes_max
        self._alone = Sink(name, bytes_max, folder)
        self._sinks: Sequence[Sink] = ()
        self._buffer = bytearray()
        self._lock = threading.RLock()

    @property
    def total(self) -> int:
        """Return how much the call that runs alone has written."""
        return self._alone.total + (0 if self._sinks else len(self._buffer))

    def writable(self) -> bool:
        """Say that this stream can be written to."""
        return True

    def write(self, data: object) -> int:
        """Take output (from any thread)."""
        blob = bytes(data)  # type: ignore[call-overload]  # any buffer, as io hands it on
        with self._lock:
            if not self.active:
                _write_all(self._log_fd, blob)
                return len(blob)
            self._buffer += blob
            if len(self._buffer) >= BUFFER_BYTES:
                self.push()
        return len(blob)

    def flush(self) -> None:
        """Hand what is buffered to the files."""
        if not self.closed and self._buffer:
            self.push()

    def push(self) -> None:
        """Write the buffer for whom it is."""
        with self._lock:
            data, self._buffer = bytes(self._buffer), bytearray()
            if not self._sinks:
                self._alone.take(data)
                return
            for sink in self._sinks:
                sink.take(data)
                if len(self._sinks) > 1:  # a batch must not hold as many descriptors
                    sink.close()

    def sink(self, folder: Callable[[], str]) -> Sink:
        """Make a sink for one call of a batch."""
        return Sink(self._name, self._bytes_max, folder)

    def turn_to(self, sinks: Sequence[Sink]) -> None:
        """Write for these calls of a batch from now on; for none: it is over."""
        with self._lock:
            self.flush()
            self._sinks = sinks
            self.active = bool(sinks)

    def end(self) -> int:
        """Finish the call's files and return how many bytes it wrote; cheap when it was silent."""
        self.active = False
        if not self.total:
            return 0
        with self._lock:
            self.flush()
            return self._alone.end()


def text_over(capture: Capture) -> io.TextIOWrapper:
    """Return a text stream for `sys.stdout` or `sys.stderr` that writes straight through."""
    return io.TextIOWrapper(
        capture,  # type: ignore[arg-type]  # a raw stream does: it never writes short
        encoding="utf-8",
        errors="backslashreplace",
        newline="\n",
        write_through=True,
    )


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
