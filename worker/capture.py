"""Where `print` goes in a worker: to files of the call that runs, bounded, none if it is silent."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import threading
from collections.abc import Callable

BUFFER_BYTES = 8 << 10
TAIL_BYTES = 64 << 10
_TOTAL = struct.Struct("<Q")


class Capture(io.RawIOBase):
    """One of stdout and stderr. While `active` it writes for a call, else to the worker's log.

    `folder` makes the directory of the running call and returns it; it is asked at the first byte.
    """

    def __init__(self, name: str, log_fd: int, bytes_max: int, folder: Callable[[], str]) -> None:
        super().__init__()
        self.active = False
        self.total = 0
        self._name = name
        self._log_fd = log_fd
        self._bytes_max = bytes_max
        self._folder = folder
        self._fd = -1
        self._head = 0
        self._buffer = bytearray()
        self._tail = bytearray()
        self._lock = threading.RLock()

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
            self.total += len(blob)
            self._buffer += blob
            if len(self._buffer) >= BUFFER_BYTES:
                self.push()
        return len(blob)

    def flush(self) -> None:
        """Hand what is buffered to the file."""
        if not self.closed and self._buffer:
            self.push()

    def push(self) -> None:
        """Write the buffer to the call's file, as far as the bound allows."""
        with self._lock:
            data, self._buffer = bytes(self._buffer), bytearray()
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
                    self._fd = os.open(self._path(self._name), flags, 0o600)
                _write_all(self._fd, head)

    def end(self) -> int:
        """Finish the call's files and return how many bytes it wrote; cheap when it was silent."""
        self.active = False
        if not self.total:
            return 0
        with self._lock:
            self.push()
            if self.total > self._head:
                self._save_tail()
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
            total, self.total = self.total, 0
            self._head = 0
            self._tail.clear()
        return total

    def _path(self, name: str) -> str:
        return f"{self._folder()}/{name}"

    def _save_tail(self) -> None:
        with contextlib.suppress(OSError):  # a full disk, as above
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            fd = os.open(self._path(self._name + ".tail"), flags, 0o600)
            try:
                _write_all(fd, _TOTAL.pack(self.total) + bytes(self._tail))
            finally:
                os.close(fd)


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
