"""How does a process that moves bulk give way to those that somebody waits for?"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

BULK_NICE = 10
AUTOGROUP = Path("/proc/self/autogroup")


def give_way(nice: int = BULK_NICE) -> None:
    """Take less of the CPU than others where all want it: 0 as much, 19 hardly any.

    Where the kernel shares the CPU out by sessions first, niceness counts only within one: then the
    session gives way, which should be our own. Where neither is allowed all stays as it is.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):
            AUTOGROUP.write_text(str(nice))
