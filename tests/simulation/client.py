"""A client of the simulation: submits under keys until answered, cancels, watches to the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from remuda.protocol import ids
from remuda.protocol import messages as m

from ..invariants import Frame, History
from .agenda import SECOND
from .exchange import Exchange
from .watcher import Watcher

REPLY_NS = 2 * SECOND
KEY_BYTES = 16
PASSING = frozenset({"queue_full", "disk_full"})
PERMANENT = frozenset({"invalid", "infeasible", "not_allowed", "conflict", "not_found"})


@dataclass(slots=True)
class Client:
    """One session of one principal; `tasks` are its own, in the order in which it learned of them.

    `sent` is all that it ever submitted.
    """

    exchange: Exchange
    history: History
    watcher: Watcher = field(init=False)
    tasks: list[bytes] = field(default_factory=list)
    sent: list[m.Submit] = field(default_factory=list)

    def __post_init__(self) -> None:
        session = self.exchange.agenda.chance.randbytes(KEY_BYTES)
        self.watcher = Watcher(session, self.exchange, self.history)
        self.watcher.begin()

    @property
    def name(self) -> str:
        return self.exchange.name

    def submit(self, specs: list[dict[str, Any]], args: list[bytes], **more: Any) -> None:
        """Submit a frame under a key of its own."""
        key = self.exchange.agenda.chance.randbytes(KEY_BYTES)
        index = [at % len(specs) for at in range(len(args))]
        message = m.Submit(key, self.watcher.session, specs, index, args, **more)
        self.history.frames[self.name, key] = Frame(self.name, len(args))
        self.sent.append(message)
        self._send(message)

    def storm(self) -> int:
        """Send everything again that was ever submitted, as a broken library would."""
        for message in self.sent:
            self._send(message)
        return len(self.sent)

    def cancel(self, tasks: list[bytes]) -> None:
        """Cancel tasks."""
        self.exchange.ask(lambda: m.Cancel(tasks, []), self._on_cancelled, REPLY_NS)

    def _send(self, message: m.Submit) -> None:
        self.watcher.submitting += 1
        self.exchange.ask(
            lambda: message,
            lambda reply, tries: self._on_submitted(message, reply, tries),
            REPLY_NS,
        )

    def _on_submitted(self, sent: m.Submit, reply: m.Message, tries: int) -> None:
        frame = self.history.frames[self.name, sent.submit_key]
        if isinstance(reply, m.Submitted):
            frame.answered = True
            self._on_stored(sent, reply, is_doubtful=tries > 1 or bool(sent.once))
        elif isinstance(reply, m.Failure) and reply.code in PERMANENT:
            frame.answered = frame.refused = True
        elif isinstance(reply, m.Failure) and reply.code in PASSING:
            self.exchange.agenda.after(REPLY_NS, lambda: self._send(sent))
        else:
            self.history.found.append(f"I1 {self.name} submitted and was told {reply}")
        self.watcher.on_answered()

    def _on_stored(self, sent: m.Submit, reply: m.Submitted, *, is_doubtful: bool) -> None:
        tasks = reply.tasks
        if reply.batch:
            batch = ids.from_bytes(reply.batch)
            numbers = range(reply.offset, reply.offset + reply.count)
            tasks = [ids.to_bytes(ids.member(batch, number)) for number in numbers]
        self.history.on_acknowledged(tasks)
        for task in tasks:
            if task in self.tasks:
                continue
            self.tasks.append(task)
            agenda = self.exchange.agenda
            agenda.trace.note(agenda.now_ns, f"{self.name} is told: stored", (task,))
            self.watcher.follow(task, is_doubtful=is_doubtful)
            is_fenced = sent.specs[0].get("if_node_lost") == "fence" and not sent.once
            if is_fenced and task not in self.history.forgotten:
                self.history.fenced.add(task)

    def _on_cancelled(self, reply: m.Message, _tries: int) -> None:
        if not isinstance(reply, m.Cancelled):
            return
        agenda = self.exchange.agenda
        for task, verdict in zip(reply.tasks, reply.verdicts, strict=True):
            agenda.trace.note(agenda.now_ns, f"{self.name} is told: cancel {verdict}", (task,))
            self.history.on_cancelled(task, verdict, agenda.now_ns)


@dataclass(slots=True)
class Operator:
    """A person at the command line, who asks for one thing after the other."""

    exchange: Exchange
    _wishes: list[m.Message] = field(default_factory=list)

    def request(self, message: m.Message) -> None:
        """Ask for something once all before it is answered."""
        self._wishes.append(message)
        if len(self._wishes) == 1:
            self._ask()

    def _ask(self) -> None:
        self.exchange.ask(lambda: self._wishes[0], self._on_answer, REPLY_NS)

    def _on_answer(self, _reply: m.Message, _tries: int) -> None:
        self._wishes.pop(0)
        if self._wishes:
            self._ask()
