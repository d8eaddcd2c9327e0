"""How do operators change the settings of nodes, and does each node go by what was accepted?"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from structlog.testing import capture_logs

from remuda.config.applying import NODE
from remuda.config.sources import Read, Sources
from remuda.config.tuning import Told
from remuda.node.tuning import Tuning
from remuda.protocol import messages as m
from remuda.scheduler.config_verbs import KEY_BYTES
from remuda.scheduler.configuration import Configuration, start
from remuda.scheduler.configured import state_of
from remuda.scheduler.core import Core
from remuda.scheduler.journal import Journal

from .scenery import NODES, SETTINGS

if TYPE_CHECKING:
    from .agent import Agent
    from .world import World

NOWHERE = Path("/no such directory")
OWN: dict[str, dict[str, object]] = {"gamma": {"node.output_max": "64MiB"}}
"""Options of agents: what contradicts them is refused there."""
VALUES = ("16MiB", "32MiB", "64MiB", "128MiB", "256MiB")
REFUSED_AT = VALUES[3:]
"""These are more than gamma's own limit allows."""
KEY = "tasks.output_max"
CHOICES = len(VALUES) + 3


class NoStore:
    """The store beside the scheduler, of which the simulation has none: it says nothing."""

    @property
    def tuning(self) -> NoStore:
        return self

    def said(self) -> None:
        return None


class Files(Sources):
    """Sources that are read once: nobody changes files here."""

    def read(self) -> Read:
        return _read(tuple(self.options.items()))


@functools.cache
def _read(options: tuple[tuple[str, object], ...]) -> Read:
    return Sources(None, dict(options), {}, NOWHERE).read()


def begin(journal: Journal, wall_ms: int) -> Configuration:
    """Take up what the journal holds, as a scheduler that starts."""
    sources = Files(None, {}, {}, NOWHERE)
    configuration, _ = start(sources, journal.config.newest(), lambda _: SETTINGS, wall_ms)
    configuration.has_news = False
    return configuration


@dataclass(slots=True)
class Tuned:
    """What an agent goes by: the real thing is made once it is told something, for that takes time.

    `told` is on the host's disk.
    """

    name: str
    told: Told
    real: Tuning | None = None

    def __post_init__(self) -> None:
        if self.told != Told():
            self._make()

    def _make(self) -> Tuning:
        sources = Files(None, OWN.get(self.name, {}), {}, NOWHERE)
        self.real = Tuning(NODE, sources, sources.read(), None, self.told)
        return self.real

    @property
    def digest(self) -> bytes:
        return self.told.digest

    @property
    def refused(self) -> bytes:
        return self.real.refused if self.real else b""

    def take(self, message: m.Configure) -> None:
        real = self.real or self._make()
        with capture_logs():
            real.on_configure(message)
        self.told = real.told

    def document_due(self) -> dict[str, Any]:
        return self.real.document_due() if self.real else {}

    def forget(self) -> None:
        if self.real:
            self.real.forget()


def request(world: World, node: str, pick: int) -> m.ChangeConfig:
    """Make a request of an operator: set, taken back, read again, or made as it was before."""
    key = world.agenda.chance.randbytes(KEY_BYTES)
    if pick < len(VALUES):
        return m.ChangeConfig(key, "set", [{"key": KEY, "node": node, "value": VALUES[pick]}])
    if pick == len(VALUES):
        return m.ChangeConfig(key, "set", [{"key": KEY, "node": node}])
    return m.ChangeConfig(key, "reload" if pick > len(VALUES) + 1 else "rollback")


def hear(agent: Agent, message: m.Configure) -> None:
    """Have a node take what it is told, or refuse it: what it goes by was accepted before."""
    tuning, host = agent.membership.tuning, agent.host
    if message.incarnation != agent.core.state.incarnation:
        return
    before = host.told
    tuning.take(message)
    host.told = tuning.told
    text = ""
    if tuning.digest not in host.history.accepted:
        text = "goes by settings that nobody accepted"
    elif tuning.refused and tuning.refused == message.digest and host.told != before:
        text = "goes by settings that it refuses"
    if text:
        host.history.found.append(f"I16 {host.name} {text}")
    agent.membership.beat_soon(agent.now)


def unsettled(world: World) -> Iterator[str]:
    """I16: in the end each node goes by the newest version, or refuses what contradicts it."""
    process = world.scheduler.process
    for name, agent in world.agents.items():
        node = process.core.fleet.nodes.get(name) if process else None
        if process is None or node is None or not agent.alive:
            yield f"I16 {name} is not there to go by anything"
            continue
        word, why = state_of(process.core, node)
        digest, changes = process.core.wanted.of(name)
        tuning = agent.membership.tuning
        is_refused = name in OWN and _value(changes) in REFUSED_AT and tuning.refused == digest
        if (word, tuning.digest == digest) != ("confirmed", True) and not (
            word == "refused" and is_refused
        ):
            yield f"I16 {name} is {word} ({why}) and goes by version {tuning.told.version}"


def _value(changes: Any) -> object:
    plain = changes.get(KEY)
    return plain[0] if plain else None


def accepted(core: Core) -> set[bytes]:
    """Name what nodes may go by as of this version."""
    return {core.wanted.of(name)[0] for name in NODES}
