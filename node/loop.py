"""How does the agent turn: hear everyone, decide, carry out, speak; one thread, one poller."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import NamedTuple

import zmq

from ..config.logs import get_logger
from ..protocol import codec
from ..protocol.errors import RemudaError
from ..protocol.messages import Ask, Configure, Fetch, HandlerOrders, Offer
from . import furnishing, releases, usage
from .adoption import Adoption
from .asking import Asks
from .checkups import Checkups
from .fetching import Fetching
from .gpu import Reading
from .leaving import Leaving, watch_signals
from .membership import Membership
from .owners import owners
from .probe import Probe
from .reach import Reach
from .runner.tree import is_zombie
from .stage import Stage
from .wellbeing import Wellbeing
from .wire import Wire

POLL_MS_MAX = 1_000
SEND_AGAIN_NS = 20_000_000
EXPIRE_EVERY_NS = 5_000_000_000


class Pace(NamedTuple):
    """How often the GPUs are read, also while one is lent, and how long none may be."""

    probe_every_ns: int
    gpu_sample_ns: int
    blind_ns: int


@dataclass(slots=True)
class Loop:
    """The shell of one agent."""

    poller: zmq.Poller
    stage: Stage
    adoption: Adoption
    membership: Membership
    fetching: Fetching
    asks: Asks
    reach: Reach
    wire: Wire
    probe: Probe
    checkups: Checkups
    pace: Pace
    leaving: Leaving
    wellbeing: Wellbeing
    _probed_at: int | None = None
    _began_ns: int = 0
    _look_at: int = 0
    _expire_at: int = 0
    _send_at: int = 0

    def run(self) -> None:
        """Turn until a signal asks for an end and what is owed was sent, or its time is over."""
        wake = watch_signals(self.leaving.wishes)
        self.poller.register(wake, zmq.POLLIN)
        self.poller.register(self.stage.crew.fileno(), zmq.POLLIN)
        self.poller.register(self.probe.fileno(), zmq.POLLIN)
        self.poller.register(self.stage.moving.porter.fileno(), zmq.POLLIN)
        while not self._is_over():
            ready = {source for source, _ in self.poller.poll(self._timeout_ms())}
            woke = time.monotonic_ns()
            if wake in ready:
                os.read(wake, 512)
            if self.leaving.wishes.reload:
                self._reload()
            self.turn(woke)
            self.membership.loop_lag_ns = max(
                self.membership.loop_lag_ns, time.monotonic_ns() - woke
            )

    def _reload(self) -> None:
        self.leaving.wishes.reload = False
        self.wellbeing.service.reloading(time.monotonic_ns())
        if self.membership.tuning is not None:
            self.membership.tuning.on_signal()
            self.stage.has_news = True

    def turn(self, now: int) -> None:
        """Do one turn."""
        self.stage.core.on_boot_time(time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        self._hear(now)
        crew, core = self.stage.crew, self.stage.core
        furnishing.on_time(self.stage, now)
        crew.flush()
        self.stage.carry_out(core.turn(now), now)
        self.stage.moving.speak(now)
        crew.attach_due(now)
        self.asks.on_time(now)
        crew.flush()
        self._speak(now)
        self._keep_house(now)
        self.wellbeing.tend(now)

    def _hear(self, now: int) -> None:
        for frame in self.wire.receive("dispatch"):
            self._on_dispatch(frame, now)
        self.membership.on_beacons(now)
        self.membership.on_control(now)
        self.membership.on_monitors(now)
        self.adoption.listen(now)
        self.stage.moving.hear(now)
        reading = self.probe.on_readable()
        if reading is not None:
            self.membership.report.see(reading, self.stage.core)
            self.see(reading, self.probe.asked_ns, now)

    def see(self, reading: Reading, asked_ns: int, now: int) -> None:
        """Take in what the cards show, as asked for at `asked_ns`."""
        self.checkups.on_reading(reading, now)
        runners = owners(self.stage)
        self.stage.core.on_reading(reading, asked_ns, _living(reading), now, runners)

    def _on_dispatch(self, payload: bytes, now: int) -> None:
        counters = self.stage.state.counters
        try:
            epoch, message, _ = codec.decode(payload)
        except RemudaError as error:
            counters.add("garbage")
            if self.membership.logs.should_log(("garbage", type(error).__name__)) is not None:
                get_logger().warning("a frame on dispatch cannot be read", why=str(error))
            return
        ours = self.stage.state.incarnation
        is_ours = getattr(message, "incarnation", ours) == ours
        if not self.membership.session.on_heard(epoch, now, is_ours=is_ours):
            counters.add("old_epoch")
        elif isinstance(message, Fetch):
            self.fetching.on_fetch(message)
        elif isinstance(message, Configure):
            self._on_configure(message, now)
        elif isinstance(message, Ask):
            self.reach.on_ask(message, now)
        elif isinstance(message, Offer) and not self.membership.session.may_take_work():
            counters.add("offer_before_welcome")
        else:
            if isinstance(message, HandlerOrders):
                self.membership.handling.on_orders(message)
            self.stage.core.on_message(message)

    def _on_configure(self, message: Configure, now: int) -> None:
        """Take what operators changed, and say at once what came of it."""
        tuning = self.membership.tuning
        if tuning is not None and message.incarnation == self.stage.state.incarnation:
            tuning.on_configure(message)
            self.membership.beat_soon(now)

    def _speak(self, now: int) -> None:
        membership = self.membership
        if self.stage.has_news:
            self.stage.has_news = False
            membership.beat_soon(now)
        membership.knock_if_due(now)
        if not membership.is_inside:
            return
        session, core = membership.session, self.stage.core
        if now >= self._send_at:
            for message in core.messages(now):
                # What is lost here is said again: offers are repeated, heartbeats show phases.
                if not self.wire.send("uplink", session.frame(message)):
                    core.state.counters.add("unsent")
            self._send_results(now)
        self.fetching.answer(session)
        self.reach.answer(session)
        membership.beat_if_due(now)

    def _send_results(self, now: int) -> None:
        outbox, session = self.stage.state.outbox, self.membership.session
        while (batch := outbox.take(now)) is not None:
            message, keys = batch
            if not self.wire.send("uplink", session.frame(message)):
                outbox.defer(keys)
                self._send_at = now + SEND_AGAIN_NS
                return

    def _keep_house(self, now: int) -> None:
        self.stage.has_news |= self.membership.strain.look_if_due(now)
        if self.membership.report.premises.look_if_due(now):
            self.stage.has_news = True
            self.membership.handling.look()
        self.membership.handling.keep()
        if now >= self._probe_at() or releases.is_reading_due(self.stage.state, now):
            self._probed_at = now
            self.probe.request(now)
            self.stage.has_news |= usage.look_back(
                self.stage.state, now - (self.probe.asked_ns or self._began_ns), self.pace.blind_ns
            )
        self.checkups.on_time(now)
        if now >= self._look_at:
            self._look_at = now + self.pace.probe_every_ns
            self.stage.look_at_cards(noted_only=True)
        if now >= self._expire_at:
            self._expire_at = now + EXPIRE_EVERY_NS
            self.stage.archive.expire(now)

    def _probe_at(self) -> int:
        """Say when the cards are to be read: more often while somebody here holds a part of one."""
        if self._probed_at is None:
            self._began_ns = time.monotonic_ns()
            return 0
        is_lent = any(card.lent for card in self.stage.state.slots.cards.values())
        return self._probed_at + (self.pace.gpu_sample_ns if is_lent else self.pace.probe_every_ns)

    def _timeout_ms(self) -> int:
        now = time.monotonic_ns()
        state = self.stage.state
        if state.effects or self.stage.crew.gone:
            return 0
        due = [self.membership.deadline(), self._probe_at(), self._look_at]
        if self.membership.is_inside:
            has_words = state.fresh or state.rejected or state.started
            if has_words or state.outbox.has_unsent:
                due.append(self._send_at)
            due.append(self.stage.core.speech_deadline() or due[0])
        if self.fetching.waiting or (self.reach.unsent and self.membership.is_inside):
            due.append(now + SEND_AGAIN_NS)
        core_at, crew_at = self.stage.core.deadline(), self.stage.crew.deadline()
        made_at = self.stage.premises.environments.deadline(now)
        preparing = (self.stage.moving.deadline(now), made_at)
        others = (self.asks.deadline(), self.leaving.deadline, self.checkups.deadline())
        for deadline in (core_at, crew_at, *preparing, *others):
            if deadline is not None:
                due.append(deadline)
        return max(0, min(POLL_MS_MAX, -((now - min(due)) // 1_000_000)))

    def _is_over(self) -> bool:
        now = time.monotonic_ns()
        return self.leaving.is_over(now, is_inside=self.membership.is_inside)


def _living(reading: Reading) -> frozenset[int]:
    """Return those of the processes on the cards that live."""
    pids = {pid for gpu in reading.gpus for pid in gpu.pids}
    return frozenset(pid for pid in pids if not is_zombie(pid))
