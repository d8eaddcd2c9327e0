"""Reading what tasks printed: files of bounded size, by offset, while they grow and after."""

from __future__ import annotations

import shutil
import struct
from dataclasses import dataclass
from pathlib import Path

from ..worker.batches import attempt_key

SIDE_BYTES_MAX = 64 << 10
STREAMS = ("out", "err")
_TOTAL = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes from `offset` on; `cut` bytes before it were not kept; `total` is known so far."""

    data: bytes
    offset: int
    total: int
    cut: int


@dataclass(frozen=True, slots=True)
class Summary:
    """The first and last bytes of a stream; they meet or overlap nowhere: `cut` lies between."""

    head: bytes
    tail: bytes
    total: int

    @property
    def cut(self) -> int:
        """Return how many bytes between head and tail are left out."""
        return self.total - len(self.head) - len(self.tail)


@dataclass(frozen=True, slots=True)
class _Kept:
    """What is on disk of a stream: the head file's length, and the tail with its start."""

    path: Path
    head_bytes: int
    tail: bytes
    total: int

    @property
    def tail_at(self) -> int:
        return self.total - len(self.tail)


def read(
    runner_dir: Path, task: bytes, attempt: int, stream: str, offset: int, bytes_max: int
) -> Chunk:
    """Read on from `offset`; the chunk's own offset is larger where bytes were cut."""
    kept = _kept(runner_dir, task, attempt, stream)
    at = max(0, min(offset, kept.total))
    if at < kept.head_bytes:
        data = _read_head(kept, at, min(bytes_max, kept.head_bytes - at))
        return Chunk(data, at, kept.total, 0)
    start = max(at, kept.tail_at)
    from_tail = start - kept.tail_at
    data = kept.tail[from_tail : from_tail + bytes_max]
    return Chunk(data, start, kept.total, start - at)


def summary(
    runner_dir: Path,
    task: bytes,
    attempt: int,
    stream: str,
    *,
    side_bytes_max: int = SIDE_BYTES_MAX,
) -> Summary:
    """Return the first and the last `side_bytes_max` bytes of a stream."""
    kept = _kept(runner_dir, task, attempt, stream)
    head = _read_head(kept, 0, min(side_bytes_max, kept.head_bytes))
    tail_at = max(len(head), kept.total - side_bytes_max)
    if tail_at >= kept.tail_at and kept.tail:
        return Summary(head, kept.tail[tail_at - kept.tail_at :], kept.total)
    tail = _read_head(kept, tail_at, max(0, kept.head_bytes - tail_at))
    return Summary(head, tail, kept.total)


def remove(runner_dir: Path, task: bytes, attempt: int) -> None:
    """Remove all files of an attempt: its output, and the working directory it was given."""
    shutil.rmtree(runner_dir / "a" / attempt_key(task, attempt), ignore_errors=True)


def disk_bytes(runner_dir: Path, task: bytes, attempt: int) -> int:
    """Return how much disk the kept output of an attempt takes."""
    folder = runner_dir / "a" / attempt_key(task, attempt)
    sizes = [_size(folder / (name + suffix)) for name in STREAMS for suffix in ("", ".tail")]
    return sum(sizes)


def _kept(runner_dir: Path, task: bytes, attempt: int, stream: str) -> _Kept:
    if stream not in STREAMS:
        raise ValueError(f"a stream is one of {', '.join(STREAMS)}, not {stream!r}")
    path = runner_dir / "a" / attempt_key(task, attempt) / stream
    head_bytes = _size(path)
    try:
        blob = path.with_name(stream + ".tail").read_bytes()
        (total,) = _TOTAL.unpack_from(blob)
    except (OSError, struct.error):  # nothing was cut so far
        return _Kept(path, head_bytes, b"", head_bytes)
    return _Kept(path, head_bytes, blob[_TOTAL.size :], max(total, head_bytes))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # a silent task has no file
        return 0


def _read_head(kept: _Kept, offset: int, length: int) -> bytes:
    if length <= 0:
        return b""
    try:
        with kept.path.open("rb") as file:
            file.seek(offset)
            return file.read(length)
    except OSError:  # removed since
        return b""
