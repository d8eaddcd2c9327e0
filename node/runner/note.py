"""What a runner writes to its log for whoever looks: never at the cost of its work."""

from __future__ import annotations

import contextlib
import sys


def note(text: str) -> None:
    """Write a line to `runner.log`, if it has room."""
    with contextlib.suppress(OSError):  # a full disk: that is what most of these lines tell of
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - runner.log
