"""How a simulated agent gets in and stays in: the real session, REGISTER, heartbeats."""

from __future__ import annotations

from dataclasses import asdict, replace
from random import Random
from typing import Any

from remuda.node import releases, residents, usage
from remuda.node.core import Core
from remuda.node.session import SILENCE_NS, Session, Standing
from remuda.protocol import capabilities as wire
from remuda.protocol import codec, measures
from remuda.protocol.messages import Heartbeat, Register, Registered

from .agenda import MS, SECOND
from .configuring import Tuned
from .host import Host

EARLY_NS = (0, 150 * MS, 500 * MS)
FULL_EVERY = 15
SAY_NEW_TIMES = 4
RESIDENTS_SINCE = 4
RECONNECT_NS = (SECOND // 2, 5 * SECOND)


class Membership:
    """`asked` numbers the requests on control: only the answer to the last one counts.

    `version` is the newest that this agent speaks.
    """

    def __init__(self, host: Host, core: Core, version: int) -> None:
        self.session = Session(Random(host.agenda.chance.getrandbits(63)), *RECONNECT_NS)
        self.asked = 0
        self._version = version
        self._host = host
        self._core = core
        self._seq = 0
        self._beats: list[int] = []
        self._heartbeat_ns = 2 * SECOND
        self._said = self._since = 0
        self.tuning = Tuned(host.name, host.told)

    @property
    def is_inside(self) -> bool:
        return self.session.standing is Standing.INSIDE

    def on_registered(self, message: Registered, frame: codec.Frame, now: int) -> bool:
        """Begin with a scheduler; False when its welcome comes from the past."""
        if not self.session.on_registered(frame.epoch, now, frame.version):
            self.session.on_failure(now)
            return False
        self._core.on_registered(message)
        self._heartbeat_ns = max(100, message.heartbeat_ms) * MS
        self.session.unanswered_ns = max(SILENCE_NS, message.lease_ms * MS)
        self._beats = sorted(now + early for early in EARLY_NS)
        self._said = 0
        self.tuning.forget()
        return True

    def beat_soon(self, now: int) -> None:
        """Say at the next turn what has changed about this node."""
        self._said = 0
        self._beats.insert(0, now)

    def _statement(self) -> dict[str, Any]:
        """Say what the host has, and which of its cards are not to be had now."""
        known = self._host.capabilities
        state = self._core.state
        held, faults = releases.withheld(state), state.health.faults()
        why = {**state.health.withheld(), **held}
        if why:
            gpus = [
                replace(
                    gpu,
                    withheld=why.get(gpu.uuid, ""),
                    faults=[
                        *faults.get(gpu.uuid, ()),
                        *([releases.NOT_RELEASED] if gpu.uuid in held else ()),
                    ],
                )
                for gpu in known.gpus
            ]
            known = replace(known, gpus=gpus)
        done = self._core.state.orders.reloaded
        handlers = [replace(each, reloaded=done.get(each.name, 0)) for each in known.handlers]
        known = replace(known, handlers=handlers)
        return wire.to_document(known)

    def register(self, now: int) -> bytes:
        """Ask to be let in, in the oldest version."""
        held = self._core.held()
        self.asked += 1
        self.session.on_sent(now)
        self._core.state.fence.on_knock()
        document = {**self._statement(), "residents": self._models(now)}
        register = Register(
            self._host.name, self._core.state.incarnation, f"boot-{self._host.boot}",
            codec.VERSION_OLDEST, self._version, document,
            held.tasks, held.attempts, held.tokens, held.phases,
        )  # fmt: skip
        return codec.encode(register, self.session.epoch, codec.VERSION_OLDEST)

    def is_beat_due(self, now: int) -> bool:
        return bool(self._beats) and now >= self._beats[0]

    def heartbeat(self, now: int) -> Heartbeat:
        """Say what is held; what the host can do only now and then."""
        while self._beats and self._beats[0] <= now:
            self._beats.pop(0)
        if not self._beats:
            self._beats.append(now + self._heartbeat_ns)
        held = self._core.held()
        self._seq += 1
        self._core.state.fence.on_said(self._seq)
        self._since += 1
        document: dict[str, Any] = {}
        if self._said < SAY_NEW_TIMES or self._since >= FULL_EVERY:
            self._said, self._since = self._said + 1, 0
            document = self._statement()
        state = self._core.state
        return Heartbeat(
            state.incarnation, self._seq, state.rev, held.tasks, held.attempts, held.phases, {}, 0,
            0, document, self._measures(), held.vram_used, self._models(now),
            handler_orders=state.orders.digest, config_digest=self.tuning.digest,
            config=self.tuning.document_due(),
        )  # fmt: skip

    def _models(self, now: int) -> list[dict[str, Any]]:
        return measures.to_documents(residents.report(self._core.state, now))

    def _measures(self) -> dict[str, dict[str, Any]]:
        """Return what the last reading showed of each card."""
        state = self._core.state
        found = {uuid: usage.measure(state, uuid) for uuid in state.usage}
        return {uuid: asdict(measure) for uuid, measure in found.items() if measure is not None}

    def deadline(self) -> int:
        """Say when there is something to do without an event."""
        due = self.session.deadline()
        return min(due, self._beats[0]) if self._beats and self.is_inside else due
