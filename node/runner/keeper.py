"""The hands of a helper of root's: it starts the processes of an occupant as another user.

The helper is their parent and their subreaper, so it tells what was reaped, and that all are gone.
If it is killed itself, another one sweeps up what it left, and only that counts as the end.
"""

from __future__ import annotations

import math
import resource
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from ...worker import frames
from . import tree
from .helper_line import Line, Words, sweep
from .note import note
from .poller import Poller
from .spawn import SpawnError

SWEEP_AGAIN_S = 1.0
REFUSED = "user_refused"


class Listener(Protocol):
    """Who is told what became of the processes."""

    def on_reaped(self, pid: int, status: int, usage: resource.struct_rusage) -> None:
        """Take in that one that was started has ended."""

    def on_left(self) -> None:
        """Take in that others live on."""

    def on_gone(self) -> None:
        """Take in that nothing is left."""


class Keeper:
    """One helper, for one user; it is asked for at the first start.

    `gifts` (name -> descriptor) go with the next start: see `orders.py` of the helper.
    """

    def __init__(
        self, poller: Poller, path: str, user: str, runner: str, listener: Listener
    ) -> None:
        self.user = user
        self.gifts: dict[str, int] = {}
        self.line = Line(poller, path, self._on_words, self._on_lost)
        self._runner = runner
        self._listener = listener
        self._pid = 0
        self._lives = False
        self._is_killing = False
        self._sweep_at = math.inf

    @property
    def root(self) -> int:
        return self._pid

    @property
    def is_of_use(self) -> bool:
        """Tell whether it can be asked for another start."""
        return self.line.is_open and not self._lives

    def spawn(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: Path, fds: Mapping[int, int]
    ) -> int:
        """Start a program as the user; raise SpawnError."""
        order: dict[str, object] = {"do": "start", "user": self.user, "cwd": str(cwd.absolute())}
        order |= {"argv": list(argv), "env": dict(env), "fds": list(fds)}
        gifts, self.gifts = self.gifts, {}
        order["gifts"] = list(gifts)
        try:
            answer = self.line.ask(order, [*fds.values(), *gifts.values()])
        except (OSError, ValueError, frames.FrameError) as error:
            self._on_lost()
            text = f"the helper that starts tasks as {self.user} ({self.line.path})"
            raise SpawnError(REFUSED, f"{text} is out of reach: {error}") from error
        if "refused" in answer:
            raise SpawnError(str(answer["refused"]), str(answer.get("why", "")))
        self._lives = True
        self._pid = int(answer["helper"])
        return int(answer["started"])

    def signal_all(self, *numbers: signal.Signals) -> set[int]:
        living = {pid for pid in tree.descendants(self._pid) if not tree.is_zombie(pid)}
        if signal.SIGKILL in numbers:
            self.kill_children()
        else:
            self.line.tell({"do": "signal", "numbers": [int(number) for number in numbers]})
        return living

    def kill_children(self) -> None:
        """Have all killed: once asked, the helper goes on until nothing is left."""
        if not self._is_killing:
            self._is_killing = True
            self.line.tell({"do": "kill"})

    def signal_group(self, leader: int, number: signal.Signals) -> None:
        self.line.tell({"do": "signal", "numbers": [int(number)], "group": leader})

    def kill_below(self, pid: int) -> None:
        self.line.tell({"do": "signal", "numbers": [int(signal.SIGKILL)], "below": pid})

    def deadline(self) -> float:
        """Return the monotonic time of the next thing to do."""
        return 0.0 if self.line.has_words else self._sweep_at

    def on_time(self, now: float) -> None:
        """Tell what was heard, and sweep up after a helper that was killed."""
        self.line.hand_on()
        if now < self._sweep_at:
            return
        stuck = sweep(self.line.path, self.user, self._runner)
        self._sweep_at = time.monotonic() + SWEEP_AGAIN_S
        if stuck == 0:
            self._sweep_at = math.inf
            self._gone()

    def _on_words(self, words: Words) -> None:
        if "reaped" in words:
            pid, status, usage = words["reaped"]
            self._listener.on_reaped(pid, status, resource.struct_rusage(usage))
        elif "left" in words:
            self._listener.on_left()
        elif "gone" in words:
            self._gone()

    def _gone(self) -> None:
        if self._lives:
            self._lives = self._is_killing = False
            self._listener.on_gone()

    def _on_lost(self) -> None:
        """Take in that the helper is gone, perhaps without what it had started."""
        self.line.close()
        if self._lives:
            note(f"the helper for {self.user} is gone: what it left is swept up")
            self._sweep_at = 0.0


class Keepers:
    """The helper that a runner has now, if it has one."""

    def __init__(self, poller: Poller, listener: Listener) -> None:
        self.now: Keeper | None = None
        self._poller = poller
        self._listener = listener

    def have(self, path: str, user: str, runner: str) -> Keeper:
        """Return a helper for the next occupant, the last one's if that was the same user's."""
        if self.now is not None and self.now.user == user and self.now.is_of_use:
            return self.now
        self.part()
        self.now = Keeper(self._poller, path, user, runner, self._listener)
        return self.now

    def part(self) -> None:
        """Let the helper go: the next occupant is ours."""
        if self.now is not None:
            self.now.line.close()
            self.now = None

    def deadline(self) -> float:
        """Return the monotonic time of the next thing to do."""
        return self.now.deadline() if self.now is not None else math.inf

    def on_time(self, now: float) -> None:
        """Do what is due."""
        if self.now is not None:
            self.now.on_time(now)
