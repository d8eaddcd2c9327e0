"""The shell of the scheduler in the simulation: turns, commits and sends, any of them the last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import apsw

from remuda.protocol import codec
from remuda.protocol import messages as m
from remuda.scheduler.access import Principal, Role
from remuda.scheduler.core import CoreSettings
from remuda.scheduler.events import Event, Now
from remuda.scheduler.records import Effects, Offering

from . import doom as fate
from .agenda import MS, SECOND, Agenda, Clock
from .chronicler import Chronicler
from .doom import Doom, Point
from .network import Network
from .process import Asker, Frame, Process
from .restoring import unasked
from .storage import Disk, DiskFault

TURN_NS = MS // 5
BEACON_NS = SECOND
ADMISSION_WINDOW_MS = 2_000
FAR_NS = 1 << 62


class Killed(Exception):  # noqa: N818 - not an error of anybody
    """The process is gone in the middle of a turn."""


@dataclass(slots=True)
class Scheduler:
    """The machine of the scheduler: its disk and clock outlive the process."""

    agenda: Agenda
    network: Network
    chronicler: Chronicler
    clock: Clock
    settings: CoreSettings
    principals: dict[str, Principal]
    disk: Disk = field(default_factory=Disk)
    process: Process | None = None
    dooms: list[Doom] = field(default_factory=list)
    slow_turns: list[int] = field(default_factory=list)
    restored_ns: int = -FAR_NS
    is_configured: bool = False
    _inbox: list[Frame] = field(default_factory=list)
    _turn_due: bool = False
    _alarm_ns: int = FAR_NS
    _busy_until_ns: int = 0
    _beacon_ns: int = 0

    @property
    def now(self) -> Now:
        now_ns = self.agenda.now_ns
        return Now(self.clock.mono_ns(now_ns), self.clock.wall_ns(now_ns))

    def start(self) -> None:
        """Come up on what the disk holds, unless a process runs."""
        if self.process is not None:
            return
        process = Process(
            self.disk.open(), self.settings, self.agenda, self.now, self._reply,
            is_configured=self.is_configured,
        )  # fmt: skip
        self.process = process
        self.chronicler.history.epochs.append(process.epoch)
        self.agenda.trace.note(self.agenda.now_ns, f"scheduler starts, epoch {process.epoch}")
        self.chronicler.judge(process.core)
        self._beacon_ns = self.agenda.now_ns
        self._alarm_ns = FAR_NS
        self._busy_until_ns = 0
        self._wake()

    def crash(self, down_ns: int) -> None:
        """Lose the process; another one starts after a while."""
        if self.process is not None:
            self.process = None
            self._inbox.clear()
            self.agenda.trace.note(self.agenda.now_ns, "scheduler dies")
        self.agenda.after(down_ns, self.start)

    def receive(self, source: str, channel: str, payload: bytes, context: int) -> None:
        if self.process is not None:
            self._inbox.append(Frame(source, channel, payload, context))
            self._wake()

    def _wake(self) -> None:
        if not self._turn_due:
            self._turn_due = True
            self.agenda.at(max(self.agenda.now_ns + TURN_NS, self._busy_until_ns), self._on_wake)

    def _on_wake(self) -> None:
        self._turn_due = False
        if self.process is not None:
            self._unless_killed(self.process, self._turn)

    # --- the turn ---------------------------------------------------------------------------

    def _turn(self, process: Process) -> None:
        now = self.now
        inbox, self._inbox = self._inbox, []
        events: list[Event] = []
        for frame in inbox:
            events += process.hear(frame, self.principals[frame.source], now)
        self._inbox += process.later
        process.later.clear()
        effects = process.core.step(events, now)
        if effects.commit or effects.changes:
            self.chronicler.judge(process.core)
        took_ns = self.slow_turns.pop(0) if self.slow_turns and effects.commit else 0
        self._commit(process, effects)
        if took_ns:
            # What the commit allows to be said is said when it is over.
            self._busy_until_ns = self.agenda.now_ns + took_ns
            self.agenda.after(took_ns, lambda: self._unless_killed(
                process, lambda same: self._send(same, effects)
            ))  # fmt: skip
        else:
            self._send(process, effects)

    def _unless_killed(self, process: Process, act: Callable[[Process], None]) -> None:
        if self.process is not process:
            return
        try:
            act(process)
        except Killed:
            return
        self._set_alarm(process)

    def _meet(self, point: Point, doom: Doom | None = None) -> None:
        """Come to a point of the turn, and die there if that is to be."""
        if doom is None and self.dooms:
            doom = fate.take(self.dooms, point)
        if doom is not None:
            doom.struck()
            self.crash(doom.down_ns)
            raise Killed

    def _commit(self, process: Process, effects: Effects) -> None:
        if not effects.commit:
            return
        self._meet(Point.BEFORE_COMMIT)
        failing = fate.take(self.dooms, Point.DISK)
        process.journal.fault = failing.disk if failing else None
        is_durable = failing is None or failing.disk is DiskFault.DURABLE
        try:
            process.journal.commit(effects.commit)
        except apsw.Error:
            if failing is None:
                raise
        if is_durable:
            self.chronicler.on_durable(effects.commit, process.core, self.now.wall_ms)
        if failing is not None:
            self._meet(Point.DISK, failing)
        self._meet(Point.AFTER_COMMIT)

    def _send(self, process: Process, effects: Effects) -> None:
        now = self.now
        process.payloads.keep(effects.commit)
        for handle, message in effects.replies:
            self._meet(Point.BETWEEN_SENDS)
            process.answer(handle, message)
        for item in effects.to_nodes:
            if isinstance(item, Offering):
                for offer in process.payloads.offers(item):
                    self._to_node(process, effects, item.node, offer)
            else:
                self._to_node(process, effects, item.node, item.message)
        if effects.changes:
            history = self.chronicler.history
            history.found += history.commits.tell(effects.changes)
            process.watches.add(effects.changes)
        process.end_turn()
        answers = process.watches.due(now.mono_ns)
        if now.mono_ns >= process.watches.next_deadline_ns:
            answers += process.watches.expire(now.mono_ns)
        for each in answers:
            self._meet(Point.BETWEEN_SENDS)
            process.answer(each.handle, each.message)
        self._say_beacon(process)
        process.restraint.heed()

    def _to_node(self, process: Process, effects: Effects, node: str, message: m.Message) -> None:
        self._meet(Point.BETWEEN_SENDS)
        self.chronicler.history.found += unasked(process.core, effects, node, message)
        frame = codec.encode(message, process.epoch, process.core.fleet.nodes[node].protocol)
        if isinstance(message, m.Offer):
            self.network.sniffed.append((node, frame))
        self.network.send("scheduler", node, "dispatch", frame)

    def _say_beacon(self, process: Process) -> None:
        if self.agenda.now_ns < self._beacon_ns:
            return
        self._beacon_ns = self.agenda.now_ns + BEACON_NS
        process.journal.room.look()
        beacon = codec.encode(
            m.Beacon("simulated", 0, ADMISSION_WINDOW_MS), process.epoch, codec.VERSION_OLDEST
        )
        for name, who in self.principals.items():
            if who.role is Role.NODE:
                self.network.send("scheduler", name, "beacon", beacon)

    def _reply(self, asker: Asker, message: m.Message) -> None:
        assert self.process is not None
        frame = codec.encode(message, self.process.epoch, asker.version)
        self.network.send("scheduler", asker.name, "control", frame, asker.number)

    def _set_alarm(self, process: Process) -> None:
        due = [process.watches.next_deadline_ns]
        if (deadline := process.core.deadline()) is not None:
            due.append(deadline)
        due_ns = min(self._beacon_ns, self.clock.true_ns(min(due)))
        if self._inbox:
            self._wake()
        at_ns = max(due_ns, self.agenda.now_ns + TURN_NS)
        if at_ns < self._alarm_ns or self._alarm_ns <= self.agenda.now_ns:
            self._alarm_ns = at_ns
            self.agenda.at(at_ns, lambda: self._alarm_ns == at_ns and self._wake())
