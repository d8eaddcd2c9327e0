"""A client of the simulation: submits under keys until answered, cancels, watches to the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from remuda.protocol import ids
from remuda.protocol import messages as m
from remuda.scheduler.task import TERMINAL

from ..invariants import Frame, History
from .agenda import SECOND, Agenda
from .exchange import Exchange
from .network import Network

REPLY_NS = 2 * SECOND
WATCH_MS = 8_000
WATCH_NS = WATCH_MS * 1_000_000 + 2 * SECOND
KEY_BITS = 128
PERMANENT = frozenset({"invalid", "infeasible", "not_allowed", "conflict", "not_found"})
_ENDS = frozenset(state.word for state in TERMINAL)


@dataclass(slots=True)
class Client:
    """One session of one principal; it watches as the real client does.

    `_early` is news that overtook the reply to its submission, `_doubtful` are tasks that may have
    ended unheard: the scheduler is asked where they stand.
    """

    name: str
    agenda: Agenda
    network: Network
    history: History
    session: bytes = b""
    tasks: list[bytes] = field(default_factory=list)
    open: dict[bytes, None] = field(default_factory=dict)
    sent: list[m.Message] = field(default_factory=list)
    exchange: Exchange = field(init=False)
    _cursor: tuple[int, int] = (0, 0)
    _watching: bool = False
    _asking: bool = False
    _submitting: int = 0
    _early: dict[bytes, str] = field(default_factory=dict)
    _doubtful: dict[bytes, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.session = self.agenda.chance.getrandbits(KEY_BITS).to_bytes(16, "big")
        self.exchange = Exchange(self.name, self.agenda, self.network)
        self.exchange.ask(lambda: m.States([], self.session), self._on_begun, REPLY_NS)

    # --- what a user does -------------------------------------------------------------------

    def submit(self, specs: list[dict[str, Any]], args: list[bytes], **more: Any) -> None:
        """Submit a frame under a key of its own."""
        key = self.agenda.chance.getrandbits(KEY_BITS).to_bytes(16, "big")
        count = len(args)
        index = [at % len(specs) for at in range(count)]
        message = m.Submit(key, self.session, specs, index, args, **more)
        self.history.frames[self.name, key] = Frame(self.name, count)
        self.sent.append(message)
        self._submit(message)

    def _submit(self, message: m.Submit) -> None:
        self._submitting += 1
        self.exchange.ask(
            lambda: message,
            lambda reply, tries: self._on_submitted(message, reply, tries),
            REPLY_NS,
        )

    def cancel(self, tasks: list[bytes]) -> None:
        """Cancel tasks; a lost answer is asked for again."""
        self.exchange.ask(lambda: m.Cancel(tasks, []), self._on_cancelled, REPLY_NS)

    def storm(self) -> int:
        """Send everything again that was ever submitted, as a broken library would."""
        for message in self.sent:
            self._submit(message)
        return len(self.sent)

    @property
    def is_content(self) -> bool:
        """Tell whether all that was asked for is known to have ended."""
        waits = any(asked.on_reply != self._on_watched for asked in self.exchange.open.values())
        return not self.open and not waits

    # --- answers ----------------------------------------------------------------------------

    def _on_submitted(self, sent: m.Submit, reply: m.Message, tries: int) -> None:
        self._submitting -= 1
        frame = self.history.frames[self.name, sent.submit_key]
        frame.answered = True
        if isinstance(reply, m.Failure):
            if reply.code == "queue_full":
                self.agenda.after(REPLY_NS, lambda: self._submit(sent))
                frame.answered = False
            elif reply.code in PERMANENT:
                frame.refused = True
            else:
                self.history.found.append(f"{self.name} was refused: {reply.code}")
            return
        if not isinstance(reply, m.Submitted):
            self.history.found.append(f"{self.name} got {type(reply).__name__} for a submission")
            return
        tasks = reply.tasks
        if reply.batch:
            batch = ids.from_bytes(reply.batch)
            numbers = range(reply.offset, reply.offset + reply.count)
            tasks = [ids.to_bytes(ids.member(batch, number)) for number in numbers]
        self.history.on_acknowledged(tasks)
        for task in tasks:
            self._take_on(task, is_doubtful=tries > 1 or bool(sent.once))
        if not self._submitting:
            self._early.clear()
        self._kick()

    def _take_on(self, task: bytes, *, is_doubtful: bool) -> None:
        if task in self.tasks:
            return
        self.tasks.append(task)
        self.open[task] = None
        self.agenda.trace.note(self.agenda.now_ns, f"{self.name} is told: stored", (task,))
        if task in self._early:
            self._end(task, self._early.pop(task))
        elif is_doubtful:
            self._doubtful[task] = None

    def _on_cancelled(self, reply: m.Message, _tries: int) -> None:
        if not isinstance(reply, m.Cancelled):
            return
        for task, verdict in zip(reply.tasks, reply.verdicts, strict=True):
            text = f"{self.name} is told: cancel {verdict}"
            self.agenda.trace.note(self.agenda.now_ns, text, (task,))
            self.history.on_cancelled(task, verdict, self.agenda.now_ns)

    # --- watching ---------------------------------------------------------------------------

    def _kick(self) -> None:
        """Have a long poll out while something is open, a question while something is in doubt."""
        if self.open and not self._watching:
            self._watching = True
            self.exchange.ask(
                lambda: m.Watch(self.session, *self._cursor, WATCH_MS), self._on_watched, WATCH_NS
            )
        asked = [task for task in self._doubtful if task in self.open]
        if asked and not self._asking:
            self._asking = True
            self.exchange.ask(lambda: m.States(asked, self.session), self._on_states, REPLY_NS)

    def _on_begun(self, reply: m.Message, tries: int) -> None:
        """Learn where to watch from; asked twice, a submission may have come before: then not."""
        if tries == 1 and isinstance(reply, m.Changes):
            self._cursor = max(self._cursor, (reply.epoch, reply.seq))

    def _on_watched(self, reply: m.Message, _tries: int) -> None:
        self._watching = False
        if isinstance(reply, m.Changes):
            self._cursor = (reply.epoch, reply.seq)
            self._take(reply)
            if reply.gap:
                self._doubtful.update(self.open)
        self._kick()

    def _on_states(self, reply: m.Message, _tries: int) -> None:
        self._asking = False
        if isinstance(reply, m.Changes):
            for task in reply.tasks:
                self._doubtful.pop(task, None)
            self._take(reply)
        self._kick()

    def _take(self, reply: m.Changes) -> None:
        for task, state in zip(reply.tasks, reply.states, strict=True):
            if state not in _ENDS and state != "not_found":
                continue
            if task in self.open:
                self._end(task, state)
            elif self._submitting:
                self._early[task] = state

    def _end(self, task: bytes, state: str) -> None:
        self.history.on_end(task, state)
        self.open.pop(task, None)
        self._doubtful.pop(task, None)
        self.agenda.trace.note(self.agenda.now_ns, f"{self.name} is told: {state}", (task,))
