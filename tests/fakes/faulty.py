"""Be work that fails in the ways that remuda tells apart, and counts how often it was tried."""

import os
import signal
import socket
import time
from pathlib import Path


def _count(file: str) -> int:
    with Path(file).open("a") as tries:
        tries.write("try\n")
    return len(Path(file).read_text().splitlines())


def refused_at_first(file: str, times: int) -> int:
    """Find nobody who listens, so many times."""
    tries = _count(file)
    if tries <= times:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            socket.create_connection(nobody.getsockname(), 1)
    return tries


def out_of_memory_at_first(file: str, times: int) -> int:
    """Run out of memory, so many times."""
    tries = _count(file)
    if tries <= times:
        raise MemoryError
    return tries


def dies_at_first(file: str, times: int) -> int:
    """Have its worker killed under it, so many times."""
    tries = _count(file)
    if tries <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return tries


def says_its_pid_and_hangs(file: str) -> None:
    """Write the pid of the worker, then do nothing for long."""
    Path(file).write_text(str(os.getpid()))
    time.sleep(300)
