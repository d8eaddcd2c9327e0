"""How does the node get in with its scheduler and stay in: REGISTER, beacons, heartbeats?"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..config.clock_checks import APART_WARNING_MS, CLOCK_REMEDY, ahead_ms, describe_apart
from ..config.log_once import LogOnce
from ..config.logs import get_logger
from ..protocol import codec
from ..protocol.errors import Conflict, RemudaError
from ..protocol.measures import to_documents
from ..protocol.messages import Beacon, Failure, Heartbeat, Register, Registered
from . import moving, residents
from .core import Core
from .handling import Handling
from .mover.words import Reach as MoverReach
from .probe import Probe
from .report import Report, probe_age_ms
from .session import SILENCE_NS, Session, Standing
from .stage import Stage
from .strain import Strain
from .tuning import Tuning
from .wire import Address, Wire

HEARTBEAT_NS = 2_000_000_000
# A subscription takes a moment to arrive: the first heartbeats after joining come quickly.
EARLY_NS = (0, 150_000_000, 500_000_000)


@dataclass(slots=True)
class Membership:
    """Register, obey the newest scheduler, beat."""

    name: str
    stage: Stage
    wire: Wire
    session: Session
    report: Report
    probe: Probe
    locate: Callable[[], Address]
    strain: Strain
    handling: Handling
    tuning: Tuning | None = None
    logs: LogOnce = field(default_factory=LogOnce)
    address: Address | None = None
    heartbeat_ns: int = HEARTBEAT_NS
    loop_lag_ns: int = 0
    complaint: str = ""
    _knocked_ms: int = 0
    _clock_alarm: str = ""
    _seq: int = 0
    _beats: list[int] = field(default_factory=list)
    _config_version: int = 0

    @property
    def core(self) -> Core:
        return self.stage.core

    @property
    def is_inside(self) -> bool:
        return self.session.standing is Standing.INSIDE

    def knock_if_due(self, now: int) -> None:
        """Send REGISTER when it is time."""
        before = self.session.standing
        is_due = self.session.is_due(now)
        if before is not self.session.standing:
            self._complain_of_silence(before)
        if not is_due:
            return
        try:
            self.address = self.locate()
        except (RemudaError, OSError) as error:
            self._complain("scheduler not found", str(error))
            self.session.on_failure(now)
            return
        held = self.core.held()
        register = Register(
            name=self.name,
            incarnation=self.core.state.incarnation,
            boot_id=self.report.facts.boot_id,
            protocol_min=codec.VERSION_OLDEST,
            protocol_max=codec.VERSION,
            capabilities=self._statement(now),
            tasks=held.tasks,
            attempts=held.attempts,
            tokens=held.tokens,
            phases=held.phases,
        )
        # Nobody knows yet what the other side speaks: every scheduler reads the oldest version.
        frame = codec.encode(register, self.session.epoch, codec.VERSION_OLDEST)
        self.core.state.fence.on_knock()
        try:
            self.wire.knock(self.address, frame)
        except Conflict as error:
            self._complain("cannot knock at the scheduler", str(error))
            self.session.on_failure(now)
            return
        self._knocked_ms = _wall_ms()
        self.session.on_sent(now)

    def _statement(self, now: int) -> dict[str, Any]:
        """Say what we have, with the models in memory: a frame of the oldest version holds them."""
        found = self.report.statement(self.core, self.stage.notes, self._alarms())
        return {**found, "residents": to_documents(residents.report(self.core.state, now))}

    def on_control(self, now: int) -> None:
        """Take in the answer to REGISTER."""
        payload = self.wire.reply()
        if payload is None:
            return
        try:
            frame = codec.decode(payload)
        except RemudaError as error:
            self._complain("the answer to REGISTER cannot be read", str(error))
            self.session.on_failure(now)
            return
        message = frame.message
        if isinstance(message, Registered) and self.address is not None:
            self._welcome(self.address, frame, message, now)
            return
        reason, wait_ms = f"a {type(message).__name__} came", 0
        if isinstance(message, Failure):
            reason, wait_ms = message.message, message.retry_after_ms
        self._complain("the scheduler did not let us in", reason)
        self.session.on_failure(now, wait_ms)

    def _welcome(self, address: Address, frame: codec.Frame, message: Registered, now: int) -> None:
        if not self.session.on_registered(frame.epoch, now, frame.version):
            self.core.state.counters.add("old_epoch")
            self.session.on_failure(now)
            return
        try:
            self.wire.join(address, message)
        except Conflict as error:
            self._complain("cannot join the scheduler", str(error))
            self.wire.hang_up_work()
            self.session.on_failure(now)
            return
        self._compare_clocks(message)
        self.core.on_registered(message)
        self.handling.on_welcome(message.handlers, is_held=message.is_held)
        self.stage.moving.move(
            MoverReach(address.host, message.store_port, address.scheduler_public)
        )
        self.heartbeat_ns = max(100, message.heartbeat_ms) * 1_000_000
        self.session.unanswered_ns = max(SILENCE_NS, message.lease_ms * 1_000_000)
        self._beats = sorted(now + early for early in EARLY_NS)
        self.report.forget()
        if self.tuning is not None:
            self.tuning.forget()
        held = len(self.core.state.attempts)
        get_logger().info("registered", epoch=frame.epoch, scheduler=address.control, held=held)

    def on_beacons(self, now: int) -> None:
        """Notice a scheduler that started anew."""
        for payload in self.wire.receive("beacon"):
            try:
                epoch, message, _ = codec.decode(payload)
            except RemudaError:
                self.core.state.counters.add("garbage")
                continue
            if not isinstance(message, Beacon):
                self.core.state.counters.add("unexpected_message")
            elif not self.session.on_beacon(epoch, message.admission_window_ms, now):
                self.core.state.counters.add("old_epoch")
            elif message.config_rev != self._config_version:  # a beat brings what is new
                self._config_version = message.config_rev
                self.beat_soon(now)

    def on_monitors(self, now: int) -> None:
        """Begin anew when a connection was refused or cut.

        After a refusal the library would not try again. After a cut it would, on all channels and
        on every node at once, and to no end: each welcome opens them anew.
        """
        self.wire.listen_to_monitors()
        if self.wire.was_cut:
            self.wire.was_cut = False
            self._complain("the connection to the scheduler ended", "waiting for its beacon")
            self.wire.hang_up_work()
            self.session.on_cut(now)
        if not self.wire.refused:
            return
        channel, self.wire.refused = self.wire.refused, ""
        self._complain("our key was refused", channel)
        self.wire.hang_up_all()
        self.session.on_refused(now)

    def _alarms(self) -> list[str]:
        clock = [self._clock_alarm] if self._clock_alarm else []
        dying, premises = self.stage.unkillable.values(), self.report.premises
        standing = [*moving.alarms(self.stage.moving), *premises.problems, *self.report.alarms()]
        return [*dying, *self.strain.problems, *clock, *standing]

    def _compare_clocks(self, message: Registered) -> None:
        """Raise an alarm when our clock and the scheduler's differ, whatever the way took."""
        if not message.wall_ms:
            return  # it is of a version that does not tell
        between = (self._knocked_ms - message.wall_ms, _wall_ms() - message.wall_ms)
        apart_ms = ahead_ms(between)
        self._clock_alarm = ""
        if abs(apart_ms) >= APART_WARNING_MS:
            self._clock_alarm = f"{describe_apart(apart_ms)}: {CLOCK_REMEDY}"
            self._complain("the clocks differ", self._clock_alarm)

    def beat_if_due(self, now: int) -> None:
        """Say what we hold, and how we are."""
        if not self.is_inside or not self._beats or now < self._beats[0]:
            return
        while self._beats and self._beats[0] <= now:
            self._beats.pop(0)
        if not self._beats:
            self._beats.append(now + self.heartbeat_ns)
        held = self.core.held()
        self._seq += 1
        self.core.state.fence.on_said(self._seq)
        heartbeat = Heartbeat(
            incarnation=self.core.state.incarnation,
            seq=self._seq,
            rev=self.core.state.rev,
            tasks=held.tasks,
            attempts=held.attempts,
            phases=held.phases,
            gpu_free=self.report.gpu_free(),
            probe_age_ms=probe_age_ms(self.probe, now),
            loop_lag_ms=self.loop_lag_ns // 1_000_000,
            capabilities=self.report.capabilities_due(self.core, self.stage.notes, self._alarms()),
            gpus=self.report.gpus(self.core),
            vram_used=held.vram_used,
            residents=to_documents(residents.report(self.core.state, now)),
            config_digest=self.tuning.digest if self.tuning is not None else b"",
            config=self.tuning.document_due() if self.tuning is not None else {},
            handler_orders=self.core.state.orders.digest,
        )
        self.loop_lag_ns = 0
        self.wire.send("heartbeat", self.session.frame(heartbeat))

    def beat_soon(self, now: int) -> None:
        """Beat at the next turn: something about us changed."""
        self._beats.insert(0, now)

    def deadline(self) -> int:
        """Say when there is something to do without an event."""
        due = self.session.deadline()
        return min(due, self._beats[0]) if self._beats and self.is_inside else due

    def _complain_of_silence(self, before: Standing) -> None:
        """Say who did not answer: an address that nobody can reach looks just like that."""
        control = self.address.control if self.address is not None else "unknown"
        what = "nothing is heard of the scheduler any more"
        if before is Standing.KNOCKING:
            what = "the scheduler does not answer"
        self._complain(what, f"{control}: is it up, and can this host reach its ports?")

    def _complain(self, what: str, why: str) -> None:
        self.complaint = what
        silenced = self.logs.should_log((what, why))
        if silenced is not None:
            get_logger().warning(what, why=why, silenced=silenced)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
