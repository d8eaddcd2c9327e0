"""Results of warm calls, on disk before they are said: append-only segments of small records.

A record is a `u32` length and a RESULTS body, which begins with the record's number. A torn last
record (the runner was killed while writing) is ignored. A segment goes when all its records are
acknowledged, so after a crash an acknowledged record may be reported again: the attempt number
makes that harmless.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

from ...worker import batches
from .note import note

SEGMENT_BYTES_MAX = 1 << 20
_LENGTH = struct.Struct("<I")
_NAME = "spool.{:08d}"


@dataclass(slots=True)
class _Segment:
    path: Path
    fd: int
    size: int = 0
    waiting: int = 0


class Spool:
    """The unacknowledged results of one runner."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._next_record = 1
        self._next_segment = 1
        self._segment: _Segment | None = None
        self._at: dict[int, tuple[_Segment, int, int]] = {}
        self._unwritten: dict[int, bytes] = {}

    def append(self, body: bytes) -> int:
        """Write a RESULTS body under a new record number, which is returned.

        On a full disk the record is kept in memory: lost only if the runner is killed as well.
        """
        record = self._next_record
        self._next_record += 1
        blob = batches.with_record(body, record)
        try:
            self._write(record, blob)
        except OSError as error:
            note(f"spool: {error}; record {record} stays in memory")
            self._unwritten[record] = blob
        return record

    def read(self, record: int) -> bytes | None:
        """Return a waiting record's body, None once it is acknowledged."""
        place = self._at.get(record)
        if place is None:
            return self._unwritten.get(record)
        segment, offset, length = place
        return os.pread(segment.fd, length, offset)

    def forget(self, record: int) -> bool:
        """Drop an acknowledged record; say whether it was waiting."""
        place = self._at.pop(record, None)
        if place is None:
            return self._unwritten.pop(record, None) is not None
        segment = place[0]
        segment.waiting -= 1
        if segment.waiting == 0 and (segment is not self._segment or segment.size > 0):
            self._drop(segment)
        return True

    def waiting(self) -> list[int]:
        """Return the records that are not acknowledged, oldest first."""
        return sorted([*self._at, *self._unwritten])

    def _write(self, record: int, blob: bytes) -> None:
        segment = self._open_segment()
        data = _LENGTH.pack(len(blob)) + blob
        try:
            written = os.write(segment.fd, data)
            while written < len(data):
                written += os.write(segment.fd, data[written:])
        except OSError:
            # What follows must not be read as the rest of this one.
            os.ftruncate(segment.fd, segment.size)
            os.lseek(segment.fd, segment.size, os.SEEK_SET)
            raise
        self._at[record] = (segment, segment.size + _LENGTH.size, len(blob))
        segment.size += len(data)
        segment.waiting += 1

    def _open_segment(self) -> _Segment:
        current = self._segment
        if current is not None and current.size < SEGMENT_BYTES_MAX:
            return current
        path = self._directory / _NAME.format(self._next_segment)
        self._next_segment += 1
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._segment = _Segment(path, os.open(path, flags, 0o600))
        return self._segment

    def _drop(self, segment: _Segment) -> None:
        if segment is self._segment:
            # The current segment is emptied instead: a file per batch would cost more than it.
            os.ftruncate(segment.fd, 0)
            os.lseek(segment.fd, 0, os.SEEK_SET)
            segment.size = 0
            return
        os.close(segment.fd)
        segment.path.unlink(missing_ok=True)


def read_spool(directory: Path) -> list[bytes]:
    """Return the whole records in a dead runner's spool, oldest first."""
    found = []
    for path in sorted(directory.glob("spool.*")):
        data = path.read_bytes()
        at = 0
        while len(data) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(data, at)
            body = data[at + _LENGTH.size : at + _LENGTH.size + length]
            if len(body) < length:
                break  # torn: it was never said
            found.append(body)
            at += _LENGTH.size + length
    return found
