"""How does the store stay small, and quick, although many threads take and give back pieces?"""

from __future__ import annotations

import contextlib
import ctypes

from ..protocol.store_messages import PIECE_BYTES_MAX

ARENAS_MAX = 2
MAPPED_BYTES_MIN = 8 * PIECE_BYTES_MAX
KEPT_BYTES_MAX = 32 * 1024 * 1024
"""Free memory at the end of the heap that is not given back to the system at once."""
_M_TRIM_THRESHOLD = -1  # of glibc's malloc.h
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8


def bound_arenas() -> None:
    """Let threads share their heaps, and pieces the memory of those that are sent.

    A heap for each thread would keep the most that it ever held; a piece that is mapped by itself,
    or whose memory goes back with it, costs a page fault for every 4 KiB.
    Another C library than glibc has no such wishes, and no such trouble.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, ARENAS_MAX)
        mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES_MIN)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES_MAX)
