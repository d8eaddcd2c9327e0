"""How a simulated client learns of ends: one long poll, and questions about what is in doubt."""

from __future__ import annotations

from dataclasses import dataclass, field

from remuda.protocol import messages as m
from remuda.scheduler.task import TERMINAL

from ..invariants import History
from .agenda import SECOND
from .exchange import Exchange

REPLY_NS = 2 * SECOND
WATCH_MS = 8_000
WATCH_NS = WATCH_MS * 1_000_000 + 2 * SECOND
_ENDS = frozenset({*(state.word for state in TERMINAL), "not_found"})


@dataclass(slots=True)
class Watcher:
    """The session of one client; it does as the real one does (`client/session.py`).

    `open` has not ended as far as is known, `doubtful` may have ended unheard. `early` is news
    that overtook the reply to its submission; `submitting` counts those under way.
    """

    session: bytes
    exchange: Exchange
    history: History
    open: dict[bytes, None] = field(default_factory=dict)
    doubtful: dict[bytes, None] = field(default_factory=dict)
    early: dict[bytes, str] = field(default_factory=dict)
    submitting: int = 0
    _cursor: tuple[int, int] = (0, 0)
    _watching: bool = False
    _asking: bool = False

    def begin(self) -> None:
        """Learn where to watch from, before the first submission reaches the scheduler."""
        self.exchange.ask(lambda: m.States([], self.session), self._on_begun, REPLY_NS)

    def follow(self, task: bytes, *, is_doubtful: bool) -> None:
        """Wait for the end of a task that is stored."""
        self.open[task] = None
        if task in self.early:
            self._end(task, self.early.pop(task))
        elif is_doubtful:
            self.doubtful[task] = None

    def on_answered(self) -> None:
        """Take in that a submission was answered."""
        self.submitting -= 1
        if not self.submitting:
            self.early.clear()
        self._kick()

    @property
    def is_content(self) -> bool:
        """Tell whether all is known to have ended, and nothing is asked any more."""
        waits = any(asked.on_reply != self._on_watched for asked in self.exchange.open.values())
        return not self.open and not waits

    def _kick(self) -> None:
        """Have a long poll out while something is open, a question while something is in doubt."""
        if self.open and not self._watching:
            self._watching = True
            self.exchange.ask(
                lambda: m.Watch(self.session, *self._cursor, WATCH_MS), self._on_watched, WATCH_NS
            )
        asked = [task for task in self.doubtful if task in self.open]
        if asked and not self._asking:
            self._asking = True
            self.exchange.ask(lambda: m.States(asked, self.session), self._on_states, REPLY_NS)

    def _on_begun(self, reply: m.Message, tries: int) -> None:
        """Begin there, unless it was asked twice: then a submission may have come before."""
        if tries == 1 and isinstance(reply, m.Changes):
            self._cursor = max(self._cursor, (reply.epoch, reply.seq))

    def _on_watched(self, reply: m.Message, _tries: int) -> None:
        self._watching = False
        if isinstance(reply, m.Changes):
            self._cursor = (reply.epoch, reply.seq)
            self._take(reply)
            if reply.gap:
                self.doubtful.update(self.open)
        self._kick()

    def _on_states(self, reply: m.Message, _tries: int) -> None:
        self._asking = False
        if isinstance(reply, m.Changes):
            for task in reply.tasks:
                self.doubtful.pop(task, None)
            self._take(reply)
        self._kick()

    def _take(self, reply: m.Changes) -> None:
        for task, state in zip(reply.tasks, reply.states, strict=True):
            if state in _ENDS and task in self.open:
                self._end(task, state)
            elif state in _ENDS and self.submitting:
                self.early[task] = state

    def _end(self, task: bytes, state: str) -> None:
        self.history.on_end(task, state)
        self.open.pop(task, None)
        self.doubtful.pop(task, None)
        agenda = self.exchange.agenda
        agenda.trace.note(agenda.now_ns, f"{self.exchange.name} is told: {state}", (task,))
