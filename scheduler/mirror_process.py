"""The mirror process: `python -m remuda.scheduler.mirror_process`, started by the scheduler alone.

It hears frames on stdin, writes reports to stdout, and ends when stdin does: a scheduler that is
killed leaves none behind. What it is told on stdin is all it knows, so that no secret is in its
arguments or its environment.
"""

from __future__ import annotations

import os
import select
import sys
import time
from random import Random
from typing import Any

from .mirror_follower import Follower, Link
from .mirror_frames import Report, Unpacker, pack
from .mirror_redis import RedisLink

READ_BYTES = 1 << 20
GATHER_S = 0.02  # so long news may wait for company: one trip to Redis for all of it
NICENESS = 10  # whatever the scheduler has to do comes first
STDIN, STDOUT, STDERR = 0, 1, 2


def main() -> int:
    """Follow the scheduler until it closes the pipe."""
    os.nice(NICENESS)
    reports = os.dup(STDOUT)
    os.dup2(STDERR, STDOUT)  # whatever a library prints is no report
    os.set_blocking(reports, False)
    frames = _Frames()
    hello = frames.wait_hello()
    if hello is None:
        return 0

    def dial() -> Link:
        return RedisLink(
            hello["url"], password_file=hello["password_file"], timeout_s=hello["timeout_s"]
        )

    def report(told: Report) -> None:
        try:
            os.write(reports, pack("report", *told))
        except (BlockingIOError, BrokenPipeError):
            return  # the scheduler stands still, or is gone: the next read tells

    follower = Follower(hello, dial, report, Random())
    while True:
        follower.tend(time.monotonic())
        left_s = max(follower.due_s - time.monotonic(), 0.0)
        if select.select([STDIN], [], [], left_s)[0]:
            time.sleep(GATHER_S)
            heard = frames.read()
            if heard is None:
                return 0
            for frame in heard:
                follower.hear(frame)


class _Frames:
    """Reads frames from stdin."""

    def __init__(self) -> None:
        self._unpacker = Unpacker()

    def read(self) -> list[list[Any]] | None:
        """Return the frames that are there; None at the end of stdin."""
        chunk = os.read(STDIN, READ_BYTES)
        return list(self._unpacker.feed(chunk)) if chunk else None

    def wait_hello(self) -> dict[str, Any] | None:
        """Wait for the first frame, which comes alone; None when the scheduler ended before."""
        while (found := self.read()) is not None:
            for _, hello in found:
                return dict(hello)
        return None


if __name__ == "__main__":
    sys.exit(main())
