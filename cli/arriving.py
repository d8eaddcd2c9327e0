"""Which lines has a pipe brought so far, and when is it time to send those on?"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator
from typing import BinaryIO

GATHER_S = 0.05
"""So long the first of some lines waits for more."""
READ_BYTES = 64 * 1024


def lines_as_they_come(file: BinaryIO, bytes_max: int) -> Iterator[bytes | None]:
    """Yield lines, and None where those before it have waited long enough.

    A line with more than `bytes_max` comes in parts. The file must not be buffered.
    """
    descriptor, rest = file.fileno(), b""
    since_s: float | None = None  # when the first line since the last None was yielded
    while True:
        if since_s is not None and not _is_readable(descriptor, since_s + GATHER_S):
            since_s = None
            yield None
        blob = os.read(descriptor, READ_BYTES)
        *whole, rest = (rest + blob).split(b"\n")
        for line in whole:
            since_s = since_s or time.monotonic()
            yield line + b"\n"
        while len(rest) >= bytes_max:
            yield rest[:bytes_max]
            rest = rest[bytes_max:]
        if not blob:
            break
    if rest:
        yield rest


def _is_readable(descriptor: int, until_s: float) -> bool:
    left_s = max(0.0, until_s - time.monotonic())
    return bool(select.select([descriptor], [], [], left_s)[0])
