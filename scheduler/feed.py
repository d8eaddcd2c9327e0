"""What happened lately, for operators: rows in bounded rings, and who waits for the next ones.

Each class of news has a ring of its own, so that a million ends of tasks evict no news of a node.
Nothing here reads a clock or a socket.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ..protocol.messages import EventRows, Events
from .events import Now
from .feed_rows import Row, Wanted, document
from .happenings import Happening
from .questions import Told
from .watch import FAR_NS, wait_until

FLEET = "fleet"
RING_ROWS = {FLEET: 4_000, "trouble": 4_000, "routine": 4_000}
ANSWER_ROWS_MAX = 1_000
FOLLOWERS_MAX = 64
TELL_EVERY_NS = 50_000_000
"""Followers hear in batches: a busy turn costs each of them one answer at most."""
_ROUTINE = frozenset({"task.submitted", "task.succeeded", "task.requeued"})


@dataclass(slots=True)
class Ring:
    """The newest rows of one class; `dropped` is the number of the newest that is gone."""

    rows_max: int
    rows: deque[Row] = field(default_factory=deque)
    dropped: int = 0

    def append(self, row: Row) -> None:
        self.rows.append(row)
        if len(self.rows) > self.rows_max:
            self.dropped = self.rows.popleft().seq

    def after(self, seq: int) -> list[Row]:
        """Return the rows behind a number, oldest first."""
        found: list[Row] = []
        for row in reversed(self.rows):
            if row.seq <= seq:
                break
            found.append(row)
        found.reverse()
        return found


@dataclass(slots=True)
class _Follower:
    principal: str
    wanted: Wanted
    seq: int
    limit: int
    deadline_ns: int


class EventFeed:
    """All rings, and the long polls that wait for rows."""

    def __init__(self, epoch: int, now_ms: int) -> None:
        self._epoch = epoch
        self._rings = {name: Ring(rows_max) for name, rows_max in RING_ROWS.items()}
        self._last = 0
        self._followers: OrderedDict[int, _Follower] = OrderedDict()
        self._told_seq = 0
        self._tell_at_ns = 0
        self._conditions: dict[str, str] = {}
        self.due_ns = FAR_NS
        started = f"the scheduler started, epoch {epoch}"
        self.add([Happening("scheduler.started", "info", started)], now_ms)

    def add(self, news: Iterable[Happening], now_ms: int) -> None:
        """Append what happened."""
        for what in news:
            self._last += 1
            self._rings[_ring_of(what)].append(Row(self._last, now_ms, what))

    def compare(self, conditions: Mapping[str, str], now_ms: int) -> None:
        """Tell what of the scheduler's own troubles (name and text) began or ended."""
        if conditions == self._conditions:
            return
        before, self._conditions = self._conditions, dict(conditions)
        began = (text for name, text in self._conditions.items() if name not in before)
        ended = (text for name, text in before.items() if name not in self._conditions)
        self.add((Happening("scheduler.trouble", "warning", text) for text in began), now_ms)
        over = (Happening("scheduler.trouble_over", "info", f"over: {text}") for text in ended)
        self.add(over, now_ms)

    def ask(
        self, handle: int, message: Events, principal: str, wanted: Wanted, now: Now
    ) -> list[Told]:
        """Take one poll; return what is answered at once.

        Epoch 0 asks for the newest rows. A cursor of another epoch, or one that missed rows which
        are gone, gets what is left and is told of the gap.
        """
        epoch, seq = message.epoch, message.seq
        limit = min(max(message.limit, 1), ANSWER_ROWS_MAX)
        if not epoch:
            newest = deque((row for row in self._after(0) if wanted.has(row)), limit)
            return [Told(handle, self._answer(newest, self._last))]
        if epoch != self._epoch or seq > self._last:
            return [Told(handle, self._page(wanted, 0, limit, gap=True))]
        gap = any(ring.dropped > seq for ring in self._rings_of(wanted))
        page = self._page(wanted, seq, limit, gap=gap)
        if page.rows or gap or message.wait_ms <= 0:
            return [Told(handle, page)]
        until_ns = wait_until(now.mono_ns, message.wait_ms)
        self._followers[handle] = _Follower(principal, wanted, self._last, limit, until_ns)
        told = []
        if len(self._followers) > FOLLOWERS_MAX:
            oldest, follower = self._followers.popitem(last=False)
            told.append(Told(oldest, self._answer((), follower.seq)))
        self._plan(now.mono_ns)
        return told

    def due(self, mono_ns: int) -> list[Told]:
        """Answer polls that have something to read, or whose wait is over."""
        if self._told_seq != self._last and self._followers:
            self.due_ns = min(self.due_ns, self._tell_at_ns)
        if mono_ns < self.due_ns:
            return []
        told = []
        for handle, follower in list(self._followers.items()):
            page = self._page(follower.wanted, follower.seq, follower.limit)
            if page.rows or follower.deadline_ns <= mono_ns:
                told.append(Told(handle, page))
                del self._followers[handle]
            else:
                follower.seq = page.seq
        self._told_seq, self._tell_at_ns = self._last, mono_ns + TELL_EVERY_NS
        self._plan(mono_ns)
        return told

    def forget(self, principal: str) -> None:
        """Drop the polls of a key that was withdrawn, unanswered."""
        for handle, follower in list(self._followers.items()):
            if follower.principal == principal:
                del self._followers[handle]

    def _plan(self, mono_ns: int) -> None:
        deadlines = (each.deadline_ns for each in self._followers.values())
        self.due_ns = min(deadlines, default=FAR_NS)

    def _page(self, wanted: Wanted, seq: int, limit: int, *, gap: bool = False) -> EventRows:
        """Take wanted rows behind a cursor; the next one stands behind all that was looked at."""
        rows: list[Row] = []
        for row in self._after(seq):
            if wanted.has(row):
                if len(rows) == limit:
                    return self._answer(rows, rows[-1].seq, gap=gap)
                rows.append(row)
        return self._answer(rows, self._last, gap=gap)

    def _after(self, seq: int) -> Iterator[Row]:
        return heapq.merge(*(ring.after(seq) for ring in self._rings.values()))

    def _rings_of(self, wanted: Wanted) -> list[Ring]:
        """Return the rings that may hold what is wanted: a gap in another one is nobody's loss."""
        of_tasks = not wanted.kinds or any(kind.startswith("task") for kind in wanted.kinds)
        return [ring for name, ring in self._rings.items() if of_tasks or name == FLEET]

    def _answer(self, rows: Iterable[Row], seq: int, *, gap: bool = False) -> EventRows:
        return EventRows(self._epoch, seq, gap, [document(row) for row in rows])


def _ring_of(what: Happening) -> str:
    if not what.kind.startswith("task."):
        return FLEET
    return "routine" if what.kind in _ROUTINE else "trouble"
