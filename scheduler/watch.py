"""What clients that watch still have to hear: a bounded ring of changes for each session."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..protocol.ids import to_bytes
from ..protocol.messages import Changes
from .records import Change
from .task import TERMINAL, State

SESSION_BYTES = 16
SESSIONS_MAX = 4_096
SESSIONS_PER_OWNER_MAX = 1_024
SESSION_IDLE_S = 600
SESSION_RING_BYTES = 64 * 1024 * 1024
RINGS_BYTES_MAX = 256 * 1024 * 1024
EXTRA_TASKS_MAX = 200_000
ANSWER_BYTES_MAX = 3_500_000
ANSWER_CHANGES_MAX = 10_000
WAIT_MS_MAX = 60_000
CHANGE_OVERHEAD_BYTES = 160

WORDS = tuple(state.word for state in State)
_TERMINAL = frozenset(int(state) for state in TERMINAL)
FAR_NS = 1 << 62
_NS_PER_MS = 1_000_000
_NS_PER_S = 1_000_000_000


@dataclass(slots=True)
class Waiting:
    """One outstanding long poll: `handle` is the shell's word for where the answer goes."""

    handle: int
    deadline_ns: int


@dataclass(frozen=True, slots=True)
class Answer:
    handle: int
    message: Changes


def size_of(change: Change) -> int:
    return len(change.value) + len(change.details) + CHANGE_OVERHEAD_BYTES


def to_changes(
    changes: Iterable[Change],
    *,
    epoch: int,
    seq: int,
    gap: bool = False,
    payloads: bool = True,
    rev: int = 0,
) -> Changes:
    """Put changes into columns; without `payloads` values and details stay empty."""
    rows = list(changes)
    return Changes(
        epoch=epoch,
        seq=seq,
        gap=gap,
        tasks=[to_bytes(row.task) for row in rows],
        states=[WORDS[row.state] for row in rows],
        codes=[row.code for row in rows],
        attempts=[row.attempt for row in rows],
        nodes=[row.node for row in rows],
        values=[row.value if payloads else b"" for row in rows],
        details=[row.details if payloads else b"" for row in rows],
        rev=rev,
    )


@dataclass(slots=True)
class Session:
    """What one client session has not yet confirmed, in order; `first` numbers the oldest."""

    owner: str
    payloads: bool
    used_ns: int
    first: int
    ring: deque[Change] = field(default_factory=deque)
    ring_bytes: int = 0
    waiting: Waiting | None = None
    extra: set[int] = field(default_factory=set)

    @property
    def last(self) -> int:
        """Return the number of the newest change."""
        return self.first + len(self.ring) - 1

    def append(self, change: Change) -> None:
        self.ring.append(change)
        self.ring_bytes += size_of(change)

    def drop_oldest(self) -> None:
        self.ring_bytes -= size_of(self.ring.popleft())
        self.first += 1

    def confirm(self, seq: int) -> None:
        """Let go of what the client says it has."""
        while self.ring and self.first <= seq:
            self.drop_oldest()

    def nothing(self, epoch: int, rev: int) -> Changes:
        return to_changes((), epoch=epoch, seq=self.first - 1, rev=rev)

    def next_changes(self, epoch: int, rev: int) -> Changes:
        """Take what fits one frame from the front; it stays until a cursor confirms it."""
        rows: list[Change] = []
        size = 0
        for change in self.ring:
            size += size_of(change)
            if rows and (size > ANSWER_BYTES_MAX or len(rows) >= ANSWER_CHANGES_MAX):
                break
            rows.append(change)
        seq = self.first + len(rows) - 1
        return to_changes(rows, epoch=epoch, seq=seq, payloads=self.payloads, rev=rev)


class Watches:
    """All sessions that watch; nothing here reads a clock or a socket.

    `rev` counts the turns since the start that committed or told something: with the epoch it is
    the revision of all that clients see.
    """

    def __init__(self, epoch: int, *, changes_max: int) -> None:
        self._epoch = epoch
        self.changes_max = changes_max
        self._sessions: dict[bytes, Session] = {}
        self._extra: dict[int, list[bytes]] = {}
        self._owned: Counter[str] = Counter()
        self._bytes = 0
        self._ready: dict[bytes, None] = {}
        self._highest = 0
        self.rev = 0
        self.next_deadline_ns = FAR_NS

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, session: bytes, owner: str, now_ns: int, *, payloads: bool = True) -> bool:
        """Keep changes for a session from now on; False when it belongs to somebody else.

        A new session counts on from the highest number ever given, so that a cursor of one that
        was forgotten is never taken for its own.
        """
        known = self._sessions.get(session)
        if known is None:
            self._make_room(owner)
            self._highest += 2
            self._sessions[session] = Session(owner, payloads, now_ns, self._highest)
            return True
        if known.owner != owner:
            return False
        known.used_ns = now_ns
        return True

    def _make_room(self, owner: str) -> None:
        """Drop the session that was quiet the longest: the owner's own before that of others."""
        if self._owned[owner] >= SESSIONS_PER_OWNER_MAX:
            names = [name for name, each in self._sessions.items() if each.owner == owner]
        elif len(self._sessions) >= SESSIONS_MAX:
            names = list(self._sessions)
        else:
            names = []
        if names:
            self._drop(min(names, key=lambda name: self._sessions[name].used_ns))
        self._owned[owner] += 1

    def position(self, session: bytes) -> int:
        """Return the number of the newest change of a session, 0 when it is unknown."""
        known = self._sessions.get(session)
        return known.last if known else 0

    def follow(self, session: bytes, tasks: Iterable[int]) -> None:
        """Tell a session of these tasks as well, until each has ended."""
        known = self._sessions[session]
        for task in tasks:
            if len(known.extra) >= EXTRA_TASKS_MAX:
                return
            if task not in known.extra:
                known.extra.add(task)
                self._extra.setdefault(task, []).append(session)

    def add(self, changes: Iterable[Change]) -> None:
        """Append the changes of a turn to the rings of all who hear of them."""
        sessions, extra = self._sessions, self._extra
        for change in changes:
            own = sessions.get(change.session)
            if own is not None:
                self._append(change.session, own, change)
            others = extra.get(change.task) if extra else None
            if others:
                self._tell_others(change, others)

    def _tell_others(self, change: Change, others: list[bytes]) -> None:
        for name in others:
            session = self._sessions[name]
            if name != change.session:
                self._append(name, session, change)
            if change.state in _TERMINAL:
                session.extra.discard(change.task)
        if change.state in _TERMINAL:
            del self._extra[change.task]

    def _append(self, name: bytes, session: Session, change: Change) -> None:
        before = session.ring_bytes
        session.append(change)
        while len(session.ring) > self.changes_max or session.ring_bytes > SESSION_RING_BYTES:
            session.drop_oldest()
        self._bytes += session.ring_bytes - before
        self._highest = max(self._highest, session.last)
        if session.waiting is not None:
            self._ready[name] = None

    def ask(self, session: bytes, epoch: int, seq: int, wait: Waiting, now_ns: int) -> list[Answer]:
        """Take one WATCH of a session that `open` admitted; return what is answered at once.

        The cursor confirms everything up to `seq`. A poll that was still outstanding is answered
        with nothing, as its asker has moved on.
        """
        known = self._sessions[session]
        known.used_ns = now_ns
        answers = []
        if known.waiting is not None:
            answers.append(Answer(known.waiting.handle, known.nothing(self._epoch, self.rev)))
            known.waiting = None
        if epoch != self._epoch or seq < known.first - 1 or seq > known.last:
            gap = to_changes((), epoch=self._epoch, seq=known.last, gap=True, rev=self.rev)
            self._confirm(known, known.last)
            answers.append(Answer(wait.handle, gap))
            return answers
        self._confirm(known, seq)
        if known.ring or wait.deadline_ns <= now_ns:
            answers.append(Answer(wait.handle, known.next_changes(self._epoch, self.rev)))
        else:
            known.waiting = wait
            self.next_deadline_ns = min(self.next_deadline_ns, wait.deadline_ns)
        return answers

    def due(self, now_ns: int) -> list[Answer]:
        """Return the answers to polls that have something to hear, or whose wait is over."""
        answers = []
        for name in self._ready:
            session = self._sessions.get(name)
            if session is not None and session.waiting is not None:
                answers.append(
                    Answer(session.waiting.handle, session.next_changes(self._epoch, self.rev))
                )
                session.waiting = None
                session.used_ns = now_ns
        self._ready.clear()
        return answers

    def expire(self, now_ns: int) -> list[Answer]:
        """Answer polls that waited long enough and forget idle sessions.

        To be called once a second, and when `next_deadline_ns` has come.
        """
        answers = []
        self.next_deadline_ns = FAR_NS
        idle_ns = now_ns - SESSION_IDLE_S * _NS_PER_S
        for name, session in list(self._sessions.items()):
            if session.waiting is not None and session.waiting.deadline_ns <= now_ns:
                answers.append(
                    Answer(session.waiting.handle, session.nothing(self._epoch, self.rev))
                )
                session.waiting = None
                session.used_ns = now_ns
            elif session.waiting is not None:
                self.next_deadline_ns = min(self.next_deadline_ns, session.waiting.deadline_ns)
            elif session.used_ns < idle_ns:
                self._drop(name)
        while self._bytes > RINGS_BYTES_MAX:
            self._drop(max(self._sessions, key=lambda name: self._sessions[name].ring_bytes))
        return answers

    def forget(self, owner: str) -> None:
        """Drop the sessions of an owner whose key was withdrawn, unanswered."""
        for name in [name for name, each in self._sessions.items() if each.owner == owner]:
            self._drop(name)

    def _confirm(self, session: Session, seq: int) -> None:
        before = session.ring_bytes
        session.confirm(seq)
        self._bytes += session.ring_bytes - before

    def _drop(self, name: bytes) -> None:
        session = self._sessions.pop(name)
        self._owned[session.owner] -= 1
        if not self._owned[session.owner]:
            del self._owned[session.owner]
        self._bytes -= session.ring_bytes
        for task in session.extra:
            others = [other for other in self._extra[task] if other != name]
            if others:
                self._extra[task] = others
            else:
                del self._extra[task]


def wait_until(now_ns: int, wait_ms: int) -> int:
    """Return when a long poll is answered at the latest."""
    return now_ns + min(max(wait_ms, 0), WAIT_MS_MAX) * _NS_PER_MS
