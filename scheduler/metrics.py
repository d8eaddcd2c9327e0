"""What the metrics process is told, and when: small snapshots into a pipe that is never waited for.

The process serves HTTP, so that a reader who asks for much, or reads slowly, costs a turn nothing.
What does not fit into the pipe is dropped: the next snapshot says it anew.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.settings_metrics import MetricsSettings, host_and_port
from .events import Now
from .fleet import Node
from .meter import Meter
from .metrics_rows import fleet_rows
from .mirror import Patience
from .mirror_frames import pack
from .mirror_pipe import MirrorPipe
from .view import View

if TYPE_CHECKING:
    from .loop import Log

COMMAND = [sys.executable, "-P", "-m", "remuda.scheduler.metrics_process"]
TELL_EVERY_NS = 1_000_000_000
LOOK_EVERY_NS = 250_000_000
FRAME_EVERY_NS = 100_000_000
"""1,000 nodes with 8 cards each are 80 frames: all of them are told anew within 10 s."""
STUCK_NS = 30_000_000_000
NODES_PER_LOOK, CARDS_PER_FRAME = 50, 100
PROBLEM = "metrics"


class Metrics:
    """Feeds the process; how it is stands in the view, for `status`."""

    def __init__(
        self,
        view: View,
        settings: MetricsSettings,
        pipe: MirrorPipe,
        log: Log,
        *,
        journal_file: Path,
        withheld: Callable[[int], str],
    ) -> None:
        assert settings.listen is not None
        self.meter = Meter(settings.kinds_max, view.core.tasks)
        self._view = view
        self._address = settings.listen
        self._host, self._port = host_and_port(settings.listen)
        self._pipe = pipe
        self._log = log
        self._journal_file = journal_file
        self._withheld = withheld
        self._is_started = False
        self._start_due_ns = self._due_ns = self._fleet_due_ns = self._taken_ns = 0
        self._starts = Patience()
        self._left: list[str] = []
        self._state = view.metrics
        self._state.update(state="starting", why="", address=self._address)

    @property
    def due_ns(self) -> int:
        """When `tend` has something to do."""
        return min(self._due_ns, self._fleet_due_ns)

    def tend(self, now: Now) -> None:
        """Look after the process, and tell it how things stand; called in every turn."""
        if now.mono_ns < self.due_ns:
            return
        if not self._pipe.is_open:
            self._fleet_due_ns = self._due_ns = now.mono_ns + LOOK_EVERY_NS
            if self._is_started:
                self._on_ended(now, "its process ended, another one is started")
            elif now.mono_ns >= self._start_due_ns:
                self._start(now)
            return
        for state, why, port in self._pipe.receive() or ():
            if state != "up":
                self._on_ended(now, why)
                return
            host = f"[{self._host}]" if ":" in self._host else self._host
            self._become("ok", "", f"{host}:{port}")
        if now.mono_ns >= self._due_ns:
            self._due_ns = now.mono_ns + TELL_EVERY_NS
            if self._pipe.send(self._snapshot(now)):
                self._taken_ns = now.mono_ns
            elif now.mono_ns - self._taken_ns > STUCK_NS:
                self._on_ended(now, "its process reads nothing, another one is started")
                return
        if now.mono_ns >= self._fleet_due_ns:
            self._tell_fleet(now)
            self._fleet_due_ns = now.mono_ns + (FRAME_EVERY_NS if self._left else TELL_EVERY_NS)

    def close(self) -> None:
        """End the process."""
        self._pipe.close()

    def _start(self, now: Now) -> None:
        try:
            self._pipe.start()
        except OSError as error:
            self._on_ended(now, f"its process could not be started: {error}")
            return
        self._is_started = True
        self._taken_ns = now.mono_ns
        self._left = []
        self._due_ns = self._fleet_due_ns = 0
        self._pipe.send(pack("hello", self._host, self._port))

    def _on_ended(self, now: Now, why: str) -> None:
        self._pipe.drop()
        self._is_started = False
        self._start_due_ns = self._starts.after_failure(now.mono_ns)
        if self._state["state"] != "down" or not why.startswith("its process ended"):
            self._become("down", why, self._address)

    def _become(self, state: str, why: str, address: str) -> None:
        if (state, why, address) == tuple(self._state[key] for key in ("state", "why", "address")):
            return
        self._state.update(state=state, why=why, address=address)
        self._view.problems.pop(PROBLEM, None)
        if state == "down":
            self._view.problems[PROBLEM] = (
                f"metrics are not served on {address} ({why}): see [metrics] listen"
            )
            self._log.warning("metrics are not served", address=address, why=why)
        else:
            self._log.info("metrics are served", address=address)

    # --- what is told ------------------------------------------------------------------------

    def _snapshot(self, now: Now) -> bytes:
        view = self._view
        core = view.core
        rows: dict[str, Any] = {
            "info": [[[view.cluster, view.version], 1]],
            "epoch": [[[], core.epoch]],
            "start_time_seconds": [[[], view.started_ms / 1000]],
            "tasks": [[[word], count] for word, count in view.counts().items()],
            "problem": [[[about], 1] for about in view.problems],
            "wire_events_total": [[[what], count] for what, count in view.counters.items()],
            "reservations": [[[], len(core.reservations.of)]],
            **self._journal_rows(),
            **self.meter.rows(),
        }
        if view.redis["state"] != "off":
            rows["redis_mirror_up"] = [[[], int(view.redis["state"] == "ok")]]
        refusing = core.closed or next((f"nothing is granted: {why}" for why in core.holds), "")
        return pack("snapshot", now.mono_ns, self._withheld(now.mono_ns), refusing, rows)

    def _journal_rows(self) -> dict[str, Any]:
        file = self._journal_file
        try:
            sizes = sum(
                each.stat().st_size
                for each in (file, file.with_name(f"{file.name}-wal"))
                if each.exists()
            )
            disk = os.statvfs(file.parent)
        except OSError:
            return {}
        return {
            "journal_bytes": [[[], sizes]],
            "journal_disk_free_bytes": [[[], disk.f_bavail * disk.f_frsize]],
        }

    def _tell_fleet(self, now: Now) -> None:
        """Tell of some nodes; with the last of them the process forgets who is not there."""
        nodes = self._view.core.fleet.nodes
        is_first = not self._left
        if is_first:
            self._left = list(nodes)
        some: list[Node] = []
        cards = 0
        for _ in range(min(NODES_PER_LOOK, len(self._left))):
            node = nodes.get(self._left.pop())
            if node is not None:  # else it was forgotten meanwhile
                some.append(node)
                cards += len(node.cards)
            if cards >= CARDS_PER_FRAME:
                break
        rows = fleet_rows(some, now, self._view.core.settings.suspect_after_ns / 1e9)
        if not self._pipe.send(pack("fleet", is_first, not self._left, rows)):
            self._left = []  # this round has a hole: begin it anew
