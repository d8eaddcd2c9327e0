"""A group of processes with so little memory that the kernel really ends one of them."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path("/sys/fs/cgroup/memory")
LIMIT_BYTES = 24 << 20
MISSING = "no version 1 memory group here for a real kill by the kernel"


def is_there() -> bool:
    """Tell whether this host lets us limit the memory of a group."""
    try:
        with small_memory():
            return True
    except OSError:
        return False


@contextmanager
def small_memory() -> Iterator[Path]:
    """Make a group; who writes its pid to this file is in it."""
    folder = ROOT / f"remuda-{secrets.token_hex(8)}"
    folder.mkdir()
    try:
        (folder / "memory.limit_in_bytes").write_text(str(LIMIT_BYTES))
        # Where swap is counted too, a process must not evade into it.
        with contextlib.suppress(OSError):
            (folder / "memory.memsw.limit_in_bytes").write_text(str(LIMIT_BYTES))
        yield folder / "cgroup.procs"
    finally:
        folder.rmdir()
