"""By whose hands are the processes of an occupant started, signalled and counted?

Its runner's own, unless they belong to another user: then a helper's (`keeper.py`).
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from . import tree
from .spawn import spawn


class Hands(Protocol):
    """What an occupant needs of whoever is the parent of its processes."""

    @property
    def root(self) -> int:
        """Return the process below which all of them are."""

    def spawn(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: Path, fds: Mapping[int, int]
    ) -> int:
        """Start one in a session of its own and return its pid; raise SpawnError."""

    def signal_all(self, *numbers: signal.Signals) -> set[int]:
        """Signal every living one once; return those that lived."""

    def kill_children(self) -> None:
        """Kill a round of them, fast."""

    def signal_group(self, leader: int, number: signal.Signals) -> None:
        """Signal the group of one that was started; raise ProcessLookupError, PermissionError."""

    def kill_below(self, pid: int) -> None:
        """Kill one that was started, and what is below it."""


class OwnHands:
    """The runner itself."""

    @property
    def root(self) -> int:
        return os.getpid()

    def spawn(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: Path, fds: Mapping[int, int]
    ) -> int:
        return spawn(argv, env, cwd, fds)

    def signal_all(self, *numbers: signal.Signals) -> set[int]:
        return tree.signal_all(*numbers)

    def kill_children(self) -> None:
        tree.kill_children()

    def signal_group(self, leader: int, number: signal.Signals) -> None:
        os.killpg(leader, number)

    def kill_below(self, pid: int) -> None:
        for each in [*tree.descendants(pid), pid]:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(each, signal.SIGKILL)


OWN = OwnHands()
