"""What the scheduler tells its Redis mirror, and when: after the commit, and never waiting for it.

The mirror is a process of its own behind a pipe. A turn's changes go into the pipe if there is
room; if not, they are dropped, and from then on nothing is told until a new line has been begun:
the process is then told of all tasks anew, in pages between turns.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..config.settings_redis import RedisSettings
from ..protocol import mirrored
from .events import Now
from .mirror_frames import Report, pack, pack_tasks
from .mirror_pipe import PIPE_BYTES, MirrorPipe
from .mirror_rows import Feed, changed_rows, node_fields
from .records import Effects
from .view import View

if TYPE_CHECKING:
    from .loop import Log

_MS, _S = 1_000_000, 1_000_000_000
PAGE_ROWS = 100
PAGE_EVERY_NS = 5 * _MS
LOOK_EVERY_NS = 250 * _MS
FLEET_EVERY_NS = _S
NODES_PER_LOOK = 100
SILENCE_NS = 15 * _S
WAIT_NS_MIN, WAIT_NS_MAX = _S, 30 * _S
CALM_NS = 60 * _S
ROOM_FOR_NEWS_BYTES = PIPE_BYTES // 2
HELD = "restored from a backup: it is told once the hold ends (`remuda recovery release`)"


class Patience:
    """Waits longer after each failure, up to a limit; after a calm time from the start again."""

    def __init__(self) -> None:
        self._wait_ns = 0
        self._failed_ns = 0

    def after_failure(self, mono_ns: int) -> int:
        """Return when to try again."""
        calm = mono_ns - self._failed_ns > self._wait_ns + CALM_NS
        self._wait_ns = (
            WAIT_NS_MIN if calm else min(max(2 * self._wait_ns, WAIT_NS_MIN), WAIT_NS_MAX)
        )
        self._failed_ns = mono_ns
        return mono_ns + self._wait_ns


class Mirror:
    """Feeds the mirror process; its state stands in the view, for `status`.

    `due_ns` is when `tend` has something to do.
    """

    def __init__(
        self, view: View, settings: RedisSettings, cluster_id: str, pipe: MirrorPipe, log: Log
    ) -> None:
        self._view = view
        self._pipe = pipe
        self._log = log
        self._ttl_ms = int(settings.ttl_s * 1000)
        self._hello = {
            **settings.model_dump(exclude={"password_file"}),
            "password_file": str(settings.password_file or ""),
            "cluster_id": cluster_id,
            "epoch": view.core.epoch,
        }
        self._line = 0
        self._told = False  # whether the process follows the line: it heard of all so far
        self._feed: Feed | None = None
        self._line_wanted = self._is_started = False
        self._line_due_ns = self._start_due_ns = self._fleet_due_ns = self._refresh_due_ns = 0
        self._heard_ns = 0
        self._next_node = 0
        self._lines, self._starts = Patience(), Patience()
        self.due_ns = 0
        self._state = view.redis
        self._state.update(
            state="starting", why="", since_ms=view.started_ms, line=0, written=0, dropped=0,
            overflows=0, restarts=-1, head=mirrored.head_key(cluster_id), cluster_id=cluster_id,
        )  # fmt: skip

    def tell(self, effects: Effects, now: Now) -> None:
        """Tell of a turn that was committed and whose effects have left."""
        if self._told:
            rows = changed_rows(effects, self._view.core.tasks, now.wall_ms)
            frames = pack_tasks(self._view.watches.rev, now.wall_ms, rows, news=True)
            self._send(frames, now)

    def tend(self, now: Now) -> None:
        """Look after the process, the pages that are left to be told, and the fleet's figures."""
        if now.mono_ns < self.due_ns:
            return
        self.due_ns = now.mono_ns + LOOK_EVERY_NS
        if not self._pipe.is_open:
            if self._is_started:
                self._on_ended(now)
            elif self._view.core.recovery is not None:
                self._state["why"] = HELD  # a drill must not speak over the scheduler it copies
            elif now.mono_ns >= self._start_due_ns:
                self._start(now)
            return
        frames = self._pipe.receive()
        for frame in frames or ():
            self._on_report(Report(*frame[1:]), now)
        if frames is None or now.mono_ns - self._heard_ns > SILENCE_NS:
            self._on_ended(now)
            return
        if self._line_wanted and now.mono_ns >= self._line_due_ns:
            self._begin(now)
        if self._told and self._feed is not None:
            self.due_ns = now.mono_ns + PAGE_EVERY_NS
            self._tell_page(self._feed, now)
        elif self._told and now.mono_ns >= self._refresh_due_ns:
            self._feed = Feed(self._view.core.tasks)
        if self._told and now.mono_ns >= self._fleet_due_ns:
            self._tell_fleet(now)

    def close(self) -> None:
        """End the process."""
        self._pipe.close()

    def _start(self, now: Now) -> None:
        self._state["restarts"] += 1
        self._heard_ns = now.mono_ns
        try:
            self._pipe.start()
        except OSError as error:
            self._start_due_ns = self._starts.after_failure(now.mono_ns)
            self._become("down", f"its process could not be started: {error}", now)
            return
        self._is_started = True
        self._send([pack("hello", self._hello)], now)

    def _on_ended(self, now: Now) -> None:
        """Start another process later; what this one was told is void."""
        self._pipe.drop()
        self._is_started = False
        self._told, self._feed, self._line_wanted = False, None, False
        self._start_due_ns = self._starts.after_failure(now.mono_ns)
        self._become("down", "its process ended, another one is started", now)

    def _on_report(self, report: Report, now: Now) -> None:
        self._heard_ns = now.mono_ns
        self._state.update(written=report.written, dropped=report.dropped)
        if report.wants_line and (report.line == self._line or not self._told):
            self._line_wanted = True  # else it was asked before the line that is being told
        if report.state == "down":
            self._told, self._feed = False, None
            self._become("down", report.why, now)
        elif report.state == "ok" and self._told and report.line == self._line:
            self._become("ok", "", now)
        elif self._state["state"] != "ok" or self._line_wanted:
            self._become("resyncing", "", now)

    def _begin(self, now: Now) -> None:
        self._line += 1
        self._line_wanted = False
        self._told = True
        after_ms = now.wall_ms - self._ttl_ms
        self._feed = Feed(self._view.core.tasks, self._view.catalogue, after_ms)
        self._become("resyncing", "", now)
        self._state["line"] = self._line
        self._fleet_due_ns = 0
        self._send([pack("begin", self._line)], now)

    def _tell_page(self, feed: Feed, now: Now) -> None:
        """Send the next page, unless the room in the pipe is better kept for news."""
        if self._pipe.backlog_bytes > ROOM_FOR_NEWS_BYTES:
            return
        rev = self._view.watches.rev
        self._send(pack_tasks(rev, now.wall_ms, feed.page(PAGE_ROWS), news=False), now)
        if feed.done and self._told:
            self._feed = None
            self._refresh_due_ns = now.mono_ns + self._ttl_ms * _MS // 3
            self._send([pack("complete", rev)], now)

    def _tell_fleet(self, now: Now) -> None:
        """Tell the counts and, a stretch at a time, how the nodes are."""
        self._fleet_due_ns = now.mono_ns + FLEET_EVERY_NS
        rev, nodes = self._view.watches.rev, self._view.core.fleet.nodes
        if self._next_node >= len(nodes):
            self._next_node = 0
        some = islice(nodes.values(), self._next_node, self._next_node + NODES_PER_LOOK)
        rows = node_fields(some, now, self._view.core.settings.suspect_after_ns / 1e9)
        self._next_node += NODES_PER_LOOK
        self._send([pack("counts", rev, now.wall_ms, self._view.counts()),
                    pack("nodes", rev, now.wall_ms, rows)], now)  # fmt: skip

    def _send(self, frames: Iterable[bytes], now: Now) -> None:
        for frame in frames:
            if not self._pipe.send(frame):
                self._on_overflow(now)
                return

    def _on_overflow(self, now: Now) -> None:
        """Tell nothing more on this line: something of it is missing now."""
        self._told, self._feed = False, None
        self._state["overflows"] += 1
        self._line_wanted = True
        self._line_due_ns = self._lines.after_failure(now.mono_ns)
        self._become("resyncing", "its process was too slow, it is told everything anew", now)

    def _become(self, state: str, why: str, now: Now) -> None:
        if (state, why) == (self._state["state"], self._state["why"]):
            return
        self._state.update(state=state, why=why, since_ms=now.wall_ms)
        self._view.problems.pop("redis", None)
        if state == "down":
            self._view.problems["redis"] = (
                f"the Redis mirror is down ({why}): clients ask the scheduler instead"
            )
        facts: dict[str, Any] = {"state": state} | ({"why": why} if why else {})
        (self._log.warning if state == "down" else self._log.info)("redis mirror", **facts)
