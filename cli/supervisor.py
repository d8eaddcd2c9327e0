"""When does a daemon that ended start again? One loop watches them all."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from . import daemons
from .daemons import Daemon
from .processes import Process

RESTART_FIRST_S = 0.2
RESTART_LONGEST_S = 10.0
RESTART_FACTOR = 2.0
STEADY_S = 20.0  # who lived so long starts anew with the first delay


@dataclass(slots=True)
class Watched:
    """One daemon under watch: its process, or when it starts again."""

    daemon: Daemon
    process: Process | None = None
    adopted: bool = False
    since_s: float = 0.0
    restart_s: float = 0.0
    ended_in_a_row: int = 0


@dataclass(slots=True)
class Supervisor:
    """Keep daemons running; `turn` blocks until something happened or the time is over."""

    tell: Callable[[str], None]
    wake_fd: int
    clock: Callable[[], float] = time.monotonic
    watched: dict[str, Watched] = field(default_factory=dict)

    def start(self, wanted: Iterable[Daemon], running: dict[str, Process]) -> None:
        """Adopt the daemons that run already and start the others."""
        for daemon in wanted:
            watched = Watched(daemon, since_s=self.clock())
            self.watched[daemon.name] = watched
            process = running.get(daemon.name)
            if process is None:
                self._launch(watched)
            else:
                watched.process, watched.adopted = process, True
                self.tell(f"adopted {daemon.name}, which still ran (pid {process.pid})")

    def turn(self, timeout_s: float) -> None:
        """Wait for an end, a due restart, the wake-up descriptor or the timeout; act on it."""
        waiting = select.poll()
        waiting.register(self.wake_fd, select.POLLIN)
        for watched in self.watched.values():
            if watched.process is not None:
                waiting.register(watched.process.fileno(), select.POLLIN)
        ready = {number for number, _ in waiting.poll(self._wait_ms(timeout_s))}
        for watched in self.watched.values():
            if watched.process is not None and watched.process.fileno() in ready:
                self._on_end(watched)
            elif watched.process is None and self.clock() >= watched.restart_s:
                self._launch(watched)

    def hopeless(self, ends: int) -> Watched | None:
        """Return a daemon that ended so many times in a row, if there is one."""
        return next((w for w in self.watched.values() if w.ended_in_a_row >= ends), None)

    def stop(self, orphans: Iterable[Daemon] = ()) -> None:
        """Stop every daemon: nodes hand their tasks back first (`orphans`: see `daemons.stop`)."""
        running = {name: w.process for name, w in self.watched.items() if w.process is not None}
        daemons.stop(running, orphans, self.tell)
        for watched in self.watched.values():
            watched.process = None
            watched.daemon.pid_file.unlink(missing_ok=True)

    def _launch(self, watched: Watched) -> None:
        watched.process = daemons.start(watched.daemon)
        watched.adopted = False
        watched.since_s = self.clock()

    def _on_end(self, watched: Watched) -> None:
        assert watched.process is not None
        code = watched.process.reap()
        watched.process = None
        if self.clock() - watched.since_s >= STEADY_S:
            watched.ended_in_a_row = 0
        delay_s = min(RESTART_FIRST_S * RESTART_FACTOR**watched.ended_in_a_row, RESTART_LONGEST_S)
        watched.ended_in_a_row += 1
        watched.restart_s = self.clock() + delay_s
        self.tell(
            f"{watched.daemon.name} ended ({describe_end(code)}): starts again in {delay_s:g} s"
        )

    def _wait_ms(self, timeout_s: float) -> float:
        now_s = self.clock()
        due = [w.restart_s - now_s for w in self.watched.values() if w.process is None]
        return 1000 * max(0.0, min([timeout_s, *due]))


def describe_end(code: int | None) -> str:
    """Say how a process ended: by an exit code or a signal."""
    if code is None:
        return "how is unknown"
    return f"signal {-code}" if code < 0 else f"exit code {code}"
