"""How does the store stay small although many threads take and give back chunks?"""

from __future__ import annotations

import contextlib
import ctypes

ARENAS_MAX = 2
_M_ARENA_MAX = -8  # of glibc's malloc.h


def bound_arenas() -> None:
    """Let threads share their heaps: each of its own would keep the most that it ever held.

    Another C library than glibc has no such wish, and no such trouble.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, ARENAS_MAX)
