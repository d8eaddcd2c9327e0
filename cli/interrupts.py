"""What does Ctrl-C do: end the command at once, or raise where somebody waits for it?

A KeyboardInterrupt that comes while modules are imported can be swallowed there; so nothing raises
it but the few waits that know what to do with it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERRUPTED = 130
STDERR = 2
CLEARED = "\r\x1b[2K\x1b[?25h"
"""To the start of the line, which is emptied; and the cursor, which a bar hides, is shown."""


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


@contextmanager
def saying_at_interrupt(said: Callable[[], str]) -> Iterator[None]:
    """Have a Ctrl-C that ends this process say so first, on a line of its own.

    It is written past all locks: whoever draws on the terminal may hold one.
    """

    def end(_number: int, _frame: object) -> None:
        text = said()
        if text:
            start = CLEARED if os.isatty(STDERR) else ""
            os.write(STDERR, f"{start}{text}\n".encode())
        os._exit(INTERRUPTED)

    is_ours = signal.getsignal(signal.SIGINT) is _end
    if is_ours:
        signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        if is_ours:
            signal.signal(signal.SIGINT, _end)


def _end(_number: int, _frame: object) -> None:
    os._exit(INTERRUPTED)
