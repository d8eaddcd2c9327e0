"""A process that cannot be killed, for real: frozen, it acts on KILL only once it is thawed."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path

from .runner_driver import wait_until

ROOT = Path("/sys/fs/cgroup/freezer")
MISSING = "no version 1 freezer here to make a process that cannot be killed"


def is_there() -> bool:
    """Tell whether this host has a freezer of the old kind that we may use; the new one kills."""
    probe = ROOT / f"remuda-{secrets.token_hex(4)}"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError:
        return False
    return True


class Freezer:
    """Freezes processes until `thaw`."""

    def __init__(self) -> None:
        self._folder = ROOT / f"remuda-{secrets.token_hex(8)}"
        self._folder.mkdir()

    def freeze(self, pids: Iterable[int]) -> None:
        """Stop processes in a way that outlasts KILL."""
        for pid in pids:
            (self._folder / "cgroup.procs").write_text(str(pid))
        self._turn("FROZEN")

    def thaw(self) -> None:
        """Let them go on, or die if they were killed."""
        self._turn("THAWED")

    def remove(self) -> None:
        """Thaw, and remove the group once nothing is in it."""
        self.thaw()
        procs = self._folder / "cgroup.procs"
        wait_until(lambda: not procs.read_text(), "the end of what was frozen")
        self._folder.rmdir()

    def _turn(self, state: str) -> None:
        path = self._folder / "freezer.state"
        path.write_text(state)
        wait_until(lambda: state == path.read_text().strip(), state)
