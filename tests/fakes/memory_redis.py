"""A Redis in memory, as the mirror process sees it, and that process without its pipes."""

from __future__ import annotations

from random import Random
from typing import Any

from remuda.protocol import mirrored
from remuda.scheduler.mirror_follower import Follower
from remuda.scheduler.mirror_frames import Report, Unpacker
from remuda.scheduler.mirror_redis import RedisFailure


class MemoryRedis:
    """Keys in memory; `is_broken` fails every call, `is_away` every dial."""

    def __init__(self) -> None:
        self.keys: dict[str, bytes] = {}
        self.stream: list[str] = []
        self.is_broken = self.is_away = False
        self.dials = 0

    def dial(self) -> MemoryRedis:
        self.dials += 1
        if self.is_away:
            raise RedisFailure("ConnectionError: refused")
        return self

    def write(self, commands: list[tuple[Any, ...]]) -> None:
        """Take commands; a server that breaks has taken some of them."""
        for name, key, *rest in commands[: len(commands) // 2] if self.is_broken else commands:
            if name == "SET":
                self.keys[key] = rest[0]
            elif name == "XADD":
                self.stream.append(rest[3])
        self._check()

    def publish(self, key: str, head: bytes, mark: str) -> tuple[bytes, bytes]:
        self._check()
        before = self.keys.get(key, b"")
        self.keys[key] = head
        return before, self.keys.get(mark, b"")

    def close(self) -> None: ...

    def head(self) -> mirrored.Head | None:
        blob = self.keys.get("remuda:c:head")
        return None if blob is None else mirrored.read_head(blob)

    def _check(self) -> None:
        if self.is_broken:
            raise RedisFailure("TimeoutError: too slow")


class MemoryPipe:
    """Stands in for `MirrorPipe`: a bounded pipe, and the process at its end while it lives."""

    def __init__(self, redis: MemoryRedis, frames_max: int = 1_000) -> None:
        self.redis = redis
        self.frames_max = frames_max
        self.starts = 0
        self.is_open = False
        self.is_clogged = False
        self._frames: list[bytes] = []
        self._reports: list[list[Any]] = []
        self._follower: Follower | None = None

    def start(self) -> None:
        self.starts += 1
        self.is_open = True
        self._frames, self._reports, self._follower = [], [], None

    def send(self, frame: bytes) -> bool:
        if not self.is_open or len(self._frames) >= self.frames_max:
            return False
        self._frames.append(frame)
        return True

    @property
    def backlog_bytes(self) -> int:
        return sum(map(len, self._frames))

    def receive(self) -> list[list[Any]] | None:
        reports, self._reports = self._reports, []
        return reports if self.is_open else None

    def drop(self) -> None:
        self.is_open = False

    def close(self) -> None:
        self.drop()

    def run_process(self, now_s: float) -> None:
        """Let the process read what waits, unless the pipe is clogged, and do what is due."""
        if self.is_clogged or not self.is_open:
            return
        frames, self._frames = self._frames, []
        unpacker = Unpacker()
        for frame in (each for chunk in frames for each in unpacker.feed(chunk)):
            if self._follower is None:
                self._follower = Follower(frame[1], self.redis.dial, self._report, Random(3))
            else:
                self._follower.hear(frame)
        if self._follower is not None:
            self._follower.tend(now_s)

    def _report(self, report: Report) -> None:
        self._reports.append(["report", *report])
