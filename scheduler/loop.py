"""The scheduler's turn: hear, decide, commit once, then say; nothing else runs beside it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn, Protocol

import apsw

from ..config.daemon import IO_FAILURE_EXIT
from ..config.log_once import LogOnce
from ..protocol.codec import decode, encode
from ..protocol.errors import Conflict, ForeignProtocol, MalformedFrame, UnknownMessage
from ..protocol.messages import Answered, Failure, Message, Output, Registered, Results
from .access import HEARTBEAT, UPLINK, Role
from .core import Core
from .events import Event, NodeSays, Now
from .following import Following
from .happenings import happenings
from .health import Commits, Garbage, Health
from .intake import Intake
from .journal import Journal
from .metrics import Metrics
from .mirror import Mirror
from .offers import Payloads
from .outputs import Outputs
from .reach import Reach
from .records import Effects, Offering
from .room import Restraint
from .view import View
from .wellbeing import Wellbeing
from .wire import Drained, Said, Wire

BEACON_NS = 1_000_000_000
SLOW_NS = 500_000_000
CATCH_UP_ROUNDS = 16
CATCH_UP_POLL_MS = 50
IDLE_BUDGET_NS = 5_000_000
IDLE_EVERY_NS = 1_000_000_000
MAINTAIN_AT_LEAST_NS = 10_000_000_000
CLUSTER_STOPS = "the whole cluster is being stopped"
_NS_PER_MS = 1_000_000
NS_PER_S = 1e9


class Log(Protocol):
    """The part of a structlog logger that is used here."""

    def info(self, event: str, **facts: Any) -> Any: ...
    def warning(self, event: str, **facts: Any) -> Any: ...
    def critical(self, event: str, **facts: Any) -> Any: ...


def read_clock() -> Now:
    return Now(time.monotonic_ns(), time.time_ns())


class Loop:
    """Owns the order of things; `run` returns after `stop`."""

    def __init__(
        self,
        *,
        core: Core,
        journal: Journal,
        wire: Wire,
        view: View,
        intake: Intake,
        outputs: Outputs,
        reach: Reach,
        health: Health,
        commits: Commits,
        garbage: Garbage,
        mirror: Mirror | None,
        metrics: Metrics | None,
        wellbeing: Wellbeing,
        following: Following,
        log: Log,
        on_trouble: Callable[[str, str], None],
    ) -> None:
        self._core = core
        self._journal = journal
        self._wire = wire
        self._view = view
        self._intake = intake
        self._outputs = outputs
        self._reach = reach
        self._health = health
        self._commits = commits
        self._garbage = garbage
        self._restraint = Restraint(core, journal.room)
        self._restraint.heed()  # a start on a full disk grants nothing
        self._mirror = mirror
        self._metrics = metrics
        self._wellbeing = wellbeing
        self._payloads = Payloads(journal.history, view.store.entitle_node)
        self._log = log
        self._on_trouble = on_trouble
        self._note_once = LogOnce()
        self.following = following
        self._beacon = following.beacon()
        self._ports = wire.ports()
        self._stopping = False
        self._slow = False
        self._due_ns = core.deadline()
        self._idle_more = True
        self._last = time.monotonic_ns()
        self._beacon_due_ns = self._idle_done_ns = 0
        self.dispatch_ports: dict[str, int] = {}

    def stop(self) -> None:
        """Let `run` return after the turn that is under way."""
        self._stopping = True

    def hold(self) -> None:
        """Grant nothing from now on: the nodes are about to hand back what they have."""
        self._core.hold(CLUSTER_STOPS)

    def run(self) -> None:
        while not self._stopping:
            before_ns = time.monotonic_ns()
            asked_ms = self._timeout_ms(before_ns)
            ready = self._wire.poll(asked_ms)
            overslept_ns = time.monotonic_ns() - before_ns - asked_ms * _NS_PER_MS
            if overslept_ns > SLOW_NS:  # we were stopped: nobody could be heard meanwhile
                self._core.excuse_silence(overslept_ns, read_clock())
            try:
                self.turn(ready)
            except apsw.Error as error:
                _end_at_once(error, self._log)
        self._wellbeing.stopping()
        for each in (self._mirror, self._metrics):
            if each is not None:
                each.close()

    def turn(self, ready: dict[Any, int]) -> None:
        """Take one batch from all sockets through the core and the journal to its effects.

        The clock is read before the sockets are, so that no deadline passes that a message
        already received would have moved. After a long pause all sockets are emptied first.
        """
        now = read_clock()
        paused = self._slow or now.mono_ns - self._last > SLOW_NS + BEACON_NS
        drained = self._wire.drain(ready, control=not self._intake.is_full)
        events = self._hear(drained, now)
        if paused:
            events += self._catch_up(now)
        events += self.following.events(now)
        if events or (self._due_ns is not None and self._due_ns <= now.mono_ns):
            before_ns = 0 if self._metrics is None else time.monotonic_ns()
            effects = self._core.step(events, now)
            if self._metrics is not None:
                self._metrics.meter.step.observe((time.monotonic_ns() - before_ns) / NS_PER_S)
            if effects.commit:
                self._commit(effects)
            self._send(effects, now)
        self._due_ns = self._core.deadline()
        if self._restraint.heed():
            self._due_ns = self._core.deadline()
            self._health.look(now.mono_ns)
        self._intake.end_turn()
        self._view.feed.compare(self._view.troubles(), now.wall_ms)
        self._intake.reply_all(self._view.watches.due(now.mono_ns))
        self._intake.reply_all(self._view.feed.due(now.mono_ns))
        self._tend(now, idle=not ready)
        self._last = time.monotonic_ns()
        self._slow = self._last - now.mono_ns > SLOW_NS
        self._wellbeing.tend(self._last)
        if self._metrics is not None:
            self._metrics.meter.turn.observe((self._last - now.mono_ns) / NS_PER_S)
        if self._slow and self._note_once.should_log("slow turn") is not None:
            self._log.warning("slow turn", ms=(self._last - now.mono_ns) // _NS_PER_MS)

    def _timeout_ms(self, mono_ns: int) -> int:
        if self._intake.has_waiting or self._slow:
            return 0
        due = self._due_ns
        view = self._view
        until = min(self._beacon_due_ns, view.watches.next_deadline_ns, view.feed.due_ns)
        if due is not None:
            until = min(until, due)
        for each in (self._mirror, self._metrics):
            if each is not None:
                until = min(until, each.due_ns)
        if self._idle_more:
            until = min(until, mono_ns + _NS_PER_MS)
        return int(max(-(-(until - mono_ns) // _NS_PER_MS), 0))

    def _catch_up(self, now: Now) -> list[Event]:
        """Hear everything that came in during a long pause before judging who was silent.

        The library's own thread paused as well: it is given a moment to read what waits.
        """
        events: list[Event] = []
        for _ in range(CATCH_UP_ROUNDS):
            ready = self._wire.poll(CATCH_UP_POLL_MS)
            drained = self._wire.drain(ready, control=not self._intake.is_full)
            if not ready:
                break
            events += self._hear(drained, now)
        return events

    # --- in ------------------------------------------------------------------------------------

    def _hear(self, drained: Drained, now: Now) -> list[Event]:
        events: list[Event] = []
        self._wellbeing.heard(len(drained.heartbeats), now.mono_ns)
        for said in drained.heartbeats:
            self._hear_node(said, HEARTBEAT, events)
        for said in drained.uplink:
            self._hear_node(said, UPLINK, events)
        if drained.control or self._intake.has_waiting:
            events += self._intake.take(drained.control, now)
        return events

    def _hear_node(
        self, said: Said, allowed: frozenset[type[Message]], events: list[Event]
    ) -> None:
        name = said.principal.name
        try:
            message = decode(said.payload).message
        except (MalformedFrame, UnknownMessage, ForeignProtocol) as error:
            self._wire.counts["malformed_dropped"] += 1
            self._garbage.came_from(name)
            self._on_trouble("malformed", f"{name}: {error}")
            return
        if type(message) not in allowed or said.principal.role is not Role.NODE:
            self._wire.counts["misplaced_dropped"] += 1
            self._garbage.came_from(name)
            self._on_trouble("misplaced", f"{name}: {type(message).__name__}")
        elif isinstance(message, Output):
            if told := self._outputs.told(name, message):
                self._intake.reply_all([told])
        elif isinstance(message, Answered):
            if told := self._reach.told(name, message):
                self._intake.reply_all([told])
        else:
            if isinstance(message, Results) and message.objects:
                self._view.store.check_objects(message, said.principal)
            events.append(NodeSays(name, message))

    # --- durable -------------------------------------------------------------------------------

    def _commit(self, effects: Effects) -> None:
        """Put the turn on disk, as the first of its effects."""
        before_ns = time.monotonic_ns()
        self._journal.commit(effects.commit)
        after_ns = time.monotonic_ns()
        self._commits.took(after_ns - before_ns, after_ns)
        self._wellbeing.committed(after_ns)
        if self._metrics is not None:
            self._metrics.meter.commit.observe((after_ns - before_ns) / NS_PER_S)
        if effects.commit.config:
            self.following.commit()
            self._beacon, self._beacon_due_ns = self.following.beacon(), 0

    # --- out -----------------------------------------------------------------------------------

    def _send(self, effects: Effects, now: Now) -> None:
        commit = effects.commit
        self._payloads.keep(commit)
        for result in commit.results:
            self._view.ended[result.state] += 1
        if effects.rebind:
            self._wire.close_pipes(effects.rebind, used_only=True)
        for node in effects.unbind:
            self._wire.close_pipes([node], used_only=False)
            self.dispatch_ports.pop(node, None)
        for node in effects.rebind:  # after: who was forgotten may have come back
            if node in self._core.fleet.nodes:
                self._bind(node)
        for handle, message in effects.replies:
            self._intake.reply(handle, self._with_ports(message))
        for item in effects.to_nodes:
            if isinstance(item, Offering):
                for offer in self._payloads.offers(item):
                    self._to_node(item.node, offer, now)
            else:
                self._to_node(item.node, item.message, now)
        if effects.changes:
            self._view.watches.add(effects.changes)
        if commit or effects.changes:
            self._view.watches.rev += 1
            if self._mirror is not None:
                self._mirror.tell(effects, now)
        if self._metrics is not None:
            self._metrics.meter.took(effects)
        self._view.feed.add(happenings(effects), now.wall_ms)
        for note in effects.notes:
            if self._note_once.should_log((note.event, str(note.facts))) is not None:
                (self._log.warning if note.level == "warning" else self._log.info)(
                    note.event, **note.facts
                )

    def _to_node(self, node: str, message: Message, now: Now) -> None:
        version = self._core.fleet.nodes[node].protocol
        self._wire.pipes.send(node, encode(message, self._core.epoch, version), now.mono_ns)

    def _bind(self, node: str) -> None:
        try:
            port = self._wire.pipes.bind(node)
        except Conflict as error:
            self.dispatch_ports.pop(node, None)
            self._log.warning("no dispatch port", node=node, error=error.message)
            return
        if self.dispatch_ports.get(node) != port:
            self._journal.registry.set_dispatch_port(node, port)
            self.dispatch_ports[node] = port
        self._log.info("node registered", node=node, dispatch_port=port)

    def _with_ports(self, message: Message) -> Message:
        if not isinstance(message, Registered):
            return message
        if message.name not in self.dispatch_ports:
            return Failure("conflict", "the scheduler has no dispatch port left: see its log")
        return replace(
            message,
            dispatch_port=self.dispatch_ports[message.name],
            uplink_port=self._ports.uplink,
            heartbeat_port=self._ports.heartbeat,
            beacon_port=self._ports.beacon,
            store_port=self._view.store.port_to_come(),
        )

    def _tend(self, now: Now, *, idle: bool) -> None:
        """Do what the time asks for: beacon, ends of waits, upkeep of the journal."""
        mono_ns = now.mono_ns
        self._health.look_if_due(mono_ns)
        self._wire.pipes.flush(mono_ns)
        if self._mirror is not None:
            self._mirror.tend(now)
        if self._metrics is not None:
            self._metrics.tend(now)
        if mono_ns >= self._beacon_due_ns:
            self._wire.send_beacon(self._beacon)
            self._view.store.tell()
            self._beacon_due_ns = mono_ns + BEACON_NS
            self._intake.reply_all(self._outputs.expire(mono_ns))
            self._intake.reply_all(self._reach.expire(mono_ns))
            self._intake.reply_all(self._view.watches.expire(mono_ns))
        elif mono_ns >= self._view.watches.next_deadline_ns:
            self._intake.reply_all(self._view.watches.expire(mono_ns))
        since_ns = mono_ns - self._idle_done_ns
        wanted = self._idle_more or since_ns >= IDLE_EVERY_NS
        if (idle and wanted) or since_ns >= MAINTAIN_AT_LEAST_NS:
            self._idle_more = self._journal.idle_work(IDLE_BUDGET_NS, now.wall_ms)
            self._idle_done_ns = mono_ns
        self._view.forget_removed()


def _end_at_once(error: apsw.Error, log: Log) -> NoReturn:
    """End: what is on disk is unknown, so nobody is answered and nothing is tidied up."""
    log.critical(
        "journal failed",
        error=f"{type(error).__name__}: {error}",
        remedy="check the disk of the state directory; the scheduler must start again",
    )
    os._exit(IO_FAILURE_EXIT)
