"""What does Ctrl-C do: end the command at once, or raise where somebody waits for it?

A KeyboardInterrupt that comes while modules are imported can be swallowed there; so nothing raises
it but the few waits that know what to do with it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED = 130


def end_on_interrupt() -> None:
    """Let Ctrl-C end this process with exit code 130, unless it is ignored (as under nohup)."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _end)


@contextmanager
def raising_interrupts() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt in this block."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(_number: int, _frame: object) -> None:
    os._exit(INTERRUPTED)
