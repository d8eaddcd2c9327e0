"""The shell of a node agent in the simulation: the real core and session, simulated sockets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from remuda.node import residents
from remuda.node.core import Core
from remuda.node.gpu import Reading
from remuda.node.slots import Card, Slots
from remuda.node.task import Key
from remuda.protocol import codec
from remuda.protocol.errors import RemudaError
from remuda.protocol.messages import Beacon, Configure, Failure, Message, Offer, Registered
from remuda.protocol.resources import MILLI

from . import configuring, crew, moving
from .agenda import MS
from .checkups import Checkups
from .host import Host, Runner, leave_unguarded
from .ledger import SlotsView
from .membership import RESIDENTS_SINCE, Membership
from .moving import Moving
from .network import Network
from .probe import Probe

TURN_NS = MS // 20
INCARNATION_BYTES = 16
FAR_NS = 1 << 62


@dataclass(slots=True)
class Inbox:
    """What has arrived and was not looked at, in order of arrival."""

    frames: list[tuple[str, bytes, int]] = field(default_factory=list)
    words: list[tuple[Runner, str, Any]] = field(default_factory=list)
    moved: list[tuple[Key, str]] = field(default_factory=list)
    readings: list[tuple[Reading, int, frozenset[int]]] = field(default_factory=list)


class Agent:
    """One life of the agent of a host; a crash leaves the host and makes a new one later."""

    def __init__(self, host: Host, network: Network, life: int, version: int) -> None:
        self.host = host
        self.agenda = host.agenda
        self.network = network
        self.life = f"{host.name}-{life}"
        known = host.capabilities
        cards = {gpu.uuid: Card(gpu.memory_bytes) for gpu in known.gpus}
        slots = Slots(known.cpus_milli, known.memory_bytes, cards, resources=dict(known.resources))
        incarnation = self.life.encode().ljust(INCARNATION_BYTES, b"-")
        self.core = Core(incarnation, slots, max(1, known.cpus_milli // MILLI))
        for handler in known.handlers if version >= RESIDENTS_SINCE else ():
            residents.declare(self.core.state, handler)
        self.membership = Membership(host, self.core, version)
        self.probe = Probe(host)
        self.checkups = Checkups(self, self.now)
        self.moving = Moving(self)
        self.alive = True
        self.crash_in = -1
        self.frozen_until_ns = 0
        self.seat_of: dict[Key, Runner] = {}
        self.lane_seats: dict[int, Runner] = {}
        self.lane_of: dict[int, int] = {}
        self.inbox = Inbox()
        self._lends = SlotsView(host.name, self.life)
        self._wake_at = FAR_NS
        self._turn_due = False
        self._read_ns = -1
        crew.adopt(self, self.now)
        self.checkups.begin()
        self.wake()

    @property
    def now(self) -> int:
        return self.host.clock.mono_ns(self.agenda.now_ns)

    # --- arrivals and ends ------------------------------------------------------------------

    def receive(self, _source: str, channel: str, payload: bytes, context: int) -> None:
        self.inbox.frames.append((channel, payload, context))
        self.wake()

    def hear(self, runner: Runner, word: str, what: object) -> None:
        """Take in a word of a runner, which comes over a socket of its own."""

        def arrive() -> None:
            if self.alive:
                self.inbox.words.append((runner, word, what))
                self.wake()

        self.agenda.after(MS, arrive)

    def wake(self) -> None:
        """Have a turn soon."""
        if not self._turn_due and self.alive:
            self._turn_due = True
            self.agenda.at(max(self.agenda.now_ns + TURN_NS, self.frozen_until_ns), self._turn)

    def freeze(self, until_ns: int) -> None:
        """Stop turning for a while, as SIGSTOP does; what arrives waits."""
        self.frozen_until_ns = until_ns
        leave_unguarded(self.host)
        self.wake()

    def crash(self) -> None:
        """Be killed: what was not sent is not sent, runners go on alone."""
        self.alive = False
        leave_unguarded(self.host)
        self.close_books()
        for runner in self.host.runners:
            runner.tell = None
        self.agenda.trace.note(self.agenda.now_ns, f"{self.host.name} agent dies")

    def close_books(self) -> None:
        """Write down what is lent to the end of this life, or of the run."""
        self.host.history.lends += self._lends.take({}, self.agenda.now_ns)

    def boundary(self) -> bool:
        """Pass from one effect to the next; tell whether the agent lives on."""
        if self.alive and self.crash_in >= 0:
            self.crash_in -= 1
            if self.crash_in < 0:
                self.crash()
        return self.alive

    # --- the turn ---------------------------------------------------------------------------

    def _turn(self) -> None:
        self._turn_due = False
        if not self.alive:
            return
        if self.agenda.now_ns < self.frozen_until_ns:
            self.wake()
            return
        now = self.now
        inbox, self.inbox = self.inbox, Inbox()
        self.core.on_boot_time(now)
        for frame in inbox.frames:
            self._on_frame(*frame, now)
        for runner, word, what in inbox.words:
            crew.hear(self, runner, word, what, now)
        for key, word in inbox.moved:
            moving.hear(self, key, word)
        for reading, asked, alive in inbox.readings:
            self.checkups.see(reading, now)
            self.core.on_reading(reading, asked, alive, now, self.checkups.owners())
        effects = self.core.turn(now)
        self.checkups.on_time(now)
        self.checkups.judge(self._read_ns)
        for effect in effects:
            if not self.boundary():
                return
            crew.carry_out(self, effect, now)
        if not self.boundary():
            return
        if effects or inbox.words or inbox.moved or inbox.readings:
            self.core.state.check()
            holders = self.core.state.slots.holders
            self.host.history.lends += self._lends.take(holders, self.agenda.now_ns)
        self._speak(now)
        if self.alive:
            self.probe.look(self.core.state, now, self._on_reading)
            self._set_alarm(now)

    def _on_frame(self, channel: str, payload: bytes, context: int, now: int) -> None:
        session = self.membership.session
        if channel == "control" and context != self.membership.asked:
            return  # the answer to an earlier request: REQ_CORRELATE drops it
        try:
            frame = codec.decode(payload)
        except RemudaError:
            self.core.state.counters.add("garbage")
            return
        epoch, message = frame.epoch, frame.message
        if isinstance(message, Beacon):
            session.on_beacon(epoch, message.admission_window_ms, now)
        elif isinstance(message, Registered):
            if self.membership.on_registered(message, frame, now):
                self.host.history.on_obeyed(self.life, epoch)
        elif isinstance(message, Failure):
            session.on_failure(now, message.retry_after_ms)
        elif not session.on_heard(epoch, now, is_ours=_is_for(self.core, message)):
            self.core.state.counters.add("old_epoch")
        elif isinstance(message, Offer) and not session.may_take_work():
            self.core.state.counters.add("offer_before_welcome")
        else:
            self.host.history.on_obeyed(self.life, epoch)
            if isinstance(message, Configure):
                configuring.hear(self, message)
            else:
                self.core.on_message(message)

    def _speak(self, now: int) -> None:
        membership = self.membership
        if membership.session.is_due(now):
            frame = membership.register(now)
            self.network.send(self.host.name, "scheduler", "control", frame, membership.asked)
        if not membership.is_inside:
            return
        for message in self.core.messages(now):
            self._send("uplink", message)
        while (batch := self.core.state.outbox.take(now)) is not None and self.boundary():
            self._send("uplink", batch[0])
        if membership.is_beat_due(now):
            self._send("heartbeat", membership.heartbeat(now))

    def _send(self, channel: str, message: Message) -> None:
        if self.alive:
            frame = self.membership.session.frame(message)
            self.network.send(self.host.name, "scheduler", channel, frame)

    def _on_reading(self, reading: Reading, asked: int, living: frozenset[int]) -> None:
        if self.alive:
            self._read_ns = self.agenda.now_ns
            self.inbox.readings.append((reading, asked, living))
            self.wake()

    def _set_alarm(self, now: int) -> None:
        """Wake up when something is due; an alarm that comes too early does no harm."""
        state = self.core.state
        if state.effects:
            self.wake()
            return
        due: list[int | None] = [self.membership.deadline(), self.probe.deadline()]
        due.append(self.checkups.deadline())
        if self.membership.is_inside:
            if state.fresh or state.rejected or state.started or state.outbox.has_unsent:
                due.append(now)
            due.append(self.core.speech_deadline())
        due.append(self.core.deadline())
        first = min(at for at in due if at is not None)
        at_ns = max(self.host.clock.true_ns(first), self.agenda.now_ns + MS)
        if at_ns < self._wake_at or self._wake_at <= self.agenda.now_ns:
            self._wake_at = at_ns
            self.agenda.at(at_ns, lambda: self._wake_at == at_ns and self.wake())


def _is_for(core: Core, message: Message) -> bool:
    ours = core.state.incarnation
    return getattr(message, "incarnation", ours) == ours
