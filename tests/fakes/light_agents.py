"""How do hundreds of agents run in one process: real sockets, sessions and cores, no runners?"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from random import Random
from types import SimpleNamespace
from typing import Any

import zmq

from remuda.config.home import Home
from remuda.config.keys import Identity
from remuda.node import endings
from remuda.node.__main__ import locate
from remuda.node.capabilities import HostFacts, Limits
from remuda.node.core import Core
from remuda.node.effects import Launch, Stop
from remuda.node.membership import Membership
from remuda.node.report import Report
from remuda.node.session import Session, Standing
from remuda.node.slots import Slots
from remuda.node.task import Ending
from remuda.node.wire import Wire
from remuda.protocol import codec
from remuda.protocol.messages import Outcome

SOCKETS_PER_AGENT = 16
TICK_S = 0.05
CPUS = 4
GIB = 1 << 30
RECONNECT_NS = (500_000_000, 30_000_000_000)
FACTS = HostFacts("simulated", "boot", "6.1", "3.12", CPUS * 1000, 8 * GIB)


class _Still:
    """Stands for what moves files: these agents have none."""

    is_silent = False
    orders = SimpleNamespace(open={})

    def move(self, reach: Any) -> None: ...


class _Unpolled:
    """Stands for a poller where every socket is read at every tick."""

    def register(self, socket: Any, flags: int) -> None: ...
    def unregister(self, socket: Any) -> None: ...
    def __contains__(self, socket: Any) -> bool:
        return False


class LightAgent:
    """One agent; what it is granted runs until it is told to stop."""

    def __init__(self, home: Home, identity: Identity, context: zmq.Context[Any]) -> None:
        chance = Random(secrets.randbits(64))
        self.core = Core(secrets.token_bytes(16), Slots(CPUS * 1000, 8 * GIB), CPUS)
        self.session = Session(chance, *RECONNECT_NS)
        self.wire = Wire(_Unpolled(), identity.key, chance.randint, context)  # type: ignore[arg-type]  # as above
        self.stopped = 0
        self._membership = Membership(
            identity.name,
            SimpleNamespace(core=self.core, notes={}, unkillable={}, moving=_Still()),  # type: ignore[arg-type]  # of the stage nothing else is asked
            self.wire,
            self.session,
            Report(FACTS, Limits(), {}, "simulated"),
            SimpleNamespace(age_s=lambda _now: 0.0),  # type: ignore[arg-type]  # of the probe nothing else is asked
            lambda: locate(home, identity),
            SimpleNamespace(problems=[]),  # type: ignore[arg-type]  # of the strain nothing else is asked
            SimpleNamespace(on_welcome=lambda _declared, is_held=False: None),  # type: ignore[arg-type]  # it has no handlers
        )

    def turn(self, now: int) -> None:
        """Do what the loop of a real agent does in a turn."""
        for frame in self.wire.receive("dispatch"):
            epoch, message = codec.decode(frame)[:2]
            if self.session.on_heard(epoch, now):
                self.core.on_message(message)
        self._membership.on_beacons(now)
        self._membership.on_control(now)
        self._membership.on_monitors(now)
        for effect in self.core.turn(now):
            if isinstance(effect, Launch):
                endings.on_started(self.core.state, [effect.attempt.key], now)
            elif isinstance(effect, Stop):
                self._end(effect, now)
        self._membership.knock_if_due(now)
        if self._membership.is_inside:
            self._speak(now)

    def is_inside(self, epoch: int) -> bool:
        """Tell whether it is in with the scheduler of an epoch."""
        return self.session.standing is Standing.INSIDE and self.session.epoch == epoch

    def _end(self, effect: Stop, now: int) -> None:
        self.stopped += 1
        attempt = effect.attempt
        ending = Ending(attempt.task, attempt.number, Outcome.KILLED, "cancelled")
        endings.on_endings(self.core.state, [ending], now)

    def _speak(self, now: int) -> None:
        for message in self.core.messages(now):
            self.wire.send("uplink", self.session.frame(message))
        outbox = self.core.state.outbox
        while (batch := outbox.take(now)) is not None:
            self.wire.send("uplink", self.session.frame(batch[0]))
        self._membership.beat_if_due(now)


class LightFleet:
    """Agents of one process, turned one after another."""

    def __init__(self, home: Home, identities: Sequence[Identity], tick_s: float = TICK_S) -> None:
        self.tick_s = tick_s
        self._context: zmq.Context[Any] = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, max(len(identities) * SOCKETS_PER_AGENT, 1_024))
        self.agents = [LightAgent(home, identity, self._context) for identity in identities]

    def turn(self) -> None:
        """Turn every agent, and rest for what is left of a tick."""
        ends = time.monotonic() + self.tick_s
        for agent in self.agents:
            agent.turn(time.monotonic_ns())
        time.sleep(max(ends - time.monotonic(), 0))

    def inside(self, epoch: int) -> int:
        """Count the agents that are in with the scheduler of an epoch."""
        return sum(agent.is_inside(epoch) for agent in self.agents)

    def held(self) -> int:
        """Count the attempts that run on all agents."""
        return sum(len(agent.core.state.attempts) for agent in self.agents)

    def stopped(self) -> int:
        """Count the attempts that agents were told to stop."""
        return sum(agent.stopped for agent in self.agents)

    def close(self) -> None:
        self._context.destroy(linger=0)
