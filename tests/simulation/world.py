"""One run: a fleet is built, asked and harmed as planned, left in peace, and judged."""

from __future__ import annotations

import traceback
from collections import Counter
from dataclasses import dataclass, field
from random import Random

from remuda.protocol import codec
from remuda.scheduler.access import Principal, Role

from ..invariants import History, Lend, read_records, violations
from . import asking, configuring, things
from .agenda import MS, SECOND, Agenda, Clock, Trace
from .agent import Agent
from .byzantine import NAME as MALLORY
from .byzantine import Mallory
from .chronicler import Chronicler
from .client import Client, Operator
from .exchange import Exchange
from .harm import REACH_NS, Harm
from .host import Host
from .network import Network
from .plan import Kind, Plan
from .scenery import (
    BUDGETS,
    CARDS,
    EXCUSES_MAX,
    HANDLER_NODE,
    NODES,
    OPERATOR,
    ROLES,
    SETTINGS,
    STALL_S,
    WORK_S_MAX,
)
from .scheduler import Scheduler

MONO_NS_MAX = 10_000 * SECOND
WALL_NS = 1_700_000_000 * SECOND


@dataclass(slots=True)
class Outcome:
    """What came of one run; `struck` counts the faults that did something, by kind."""

    seed: int
    events: int
    struck: Counter[Kind]
    violations: list[str]
    digest: str
    trace: Trace
    virtual_ns: int


@dataclass(slots=True)
class World:
    """The whole fleet in one process."""

    plan: Plan
    trace: Trace
    history: History = field(default_factory=History)
    agenda: Agenda = field(init=False)
    network: Network = field(init=False)
    scheduler: Scheduler = field(init=False)
    hosts: dict[str, Host] = field(default_factory=dict)
    agents: dict[str, Agent] = field(default_factory=dict)
    lives: Counter[str] = field(default_factory=Counter)
    speaks: dict[str, int] = field(default_factory=dict)
    clients: dict[str, Client] = field(default_factory=dict)
    operator: Operator = field(init=False)
    mallory: Mallory = field(init=False)
    struck: Counter[Kind] = field(default_factory=Counter)
    calm_ns: int = 0

    def __post_init__(self) -> None:
        chance = Random(self.plan.seed)
        self.agenda = Agenda(chance, self.trace)
        self.network = Network(self.agenda)
        principals = {name: Principal(name, role) for name, role in ROLES.items()}
        self.history.budgets = dict(BUDGETS)
        self.history.commits.excuses_max = EXCUSES_MAX
        self.history.principals = {name: role.value for name, role in ROLES.items()}
        longest_ms = max(row.backoff_longest_ms or 0 for row in SETTINGS.policies.values())
        chronicler = Chronicler(self.agenda, self.history, longest_ms)
        self.scheduler = Scheduler(
            self.agenda, self.network, chronicler, self._clock(), SETTINGS, principals
        )
        is_configured = any(fault.kind is Kind.RECONFIGURE for fault in self.plan.faults)
        self.scheduler.is_configured = is_configured  # to read settings takes its time
        stations = self.network.stations
        stations["scheduler"] = self.scheduler
        for name, known in NODES.items():
            self.hosts[name] = Host(name, self.agenda, self.history, self._clock(), known)
            stations[name] = Door(self, name)
            for card in known.gpus:
                self.history.cards[card.uuid] = card.memory_bytes
            self.history.cards.update(things.sizes(name, known))
        for name in [name for name, role in ROLES.items() if role is not Role.NODE]:
            exchange = stations[name] = Exchange(name, self.agenda, self.network)
            if name == OPERATOR:
                self.operator = Operator(exchange)
            else:
                self.clients[name] = Client(exchange, self.history)
        stations[MALLORY] = self.mallory = Mallory(self.network)

    def _clock(self) -> Clock:
        return Clock(self.agenda.chance.randrange(MONO_NS_MAX), WALL_NS)

    def start_agent(self, name: str) -> None:
        """Start the agent of a host, unless one runs."""
        agent = self.agents.get(name)
        if agent is None or not agent.alive:
            self.lives[name] += 1
            version = self.speaks.get(name, codec.VERSION)
            self.agents[name] = Agent(self.hosts[name], self.network, self.lives[name], version)

    # --- the run ----------------------------------------------------------------------------

    def run(self) -> None:
        """Carry out the plan, then wait until all has ended or the time for that is over."""
        harm = Harm(self)
        self.scheduler.start()
        self.agenda.after(SECOND // 5, self.mallory.join)
        for name in NODES:
            delay_ns = self.agenda.chance.randrange(SECOND)
            self.agenda.after(delay_ns, lambda name=name: self.start_agent(name))
        for ask in self.plan.asks:
            self.agenda.at(ask.at_ms * MS, lambda ask=ask: asking.carry_out(self, ask))
        for fault in self.plan.faults:
            self.agenda.at(fault.at_ms * MS, lambda fault=fault: harm.strike(fault))
        ends_ms = [ask.at_ms for ask in self.plan.asks]
        ends_ms += [fault.at_ms + fault.span_ms for fault in self.plan.faults]
        self.calm_ns = max(ends_ms, default=0) * MS
        self.agenda.run(self.calm_ns, lambda: False)
        harm.stop()
        for name in NODES:  # once the last copies of earlier requests have arrived
            self.agenda.after(REACH_NS, lambda name=name: asking.operate(self, "undrain", name))
        for uuid in CARDS:
            self.agenda.after(REACH_NS, lambda uuid=uuid: asking.operate(self, "uncordon", uuid))
        self.agenda.after(REACH_NS, lambda: asking.operate(self, "enable", HANDLER_NODE, 1))
        self.trace.note(self.agenda.now_ns, "the faults stop")
        ends_ns = self.calm_ns + WORK_S_MAX * SECOND
        self.agenda.run(ends_ns, lambda: self.is_at_rest or self.is_stalled)
        self.history.is_settled = True

    @property
    def is_at_rest(self) -> bool:
        """Tell whether all has ended and everybody knows."""
        process = self.scheduler.process
        return (
            process is not None
            and process.core.recovery is None
            and not process.core.tasks
            and all(frame.answered for frame in self.history.frames.values())
            and all(client.watcher.is_content for client in self.clients.values())
            and all(agent.alive and not agent.core.state.attempts for agent in self.agents.values())
            and not any(configuring.unsettled(self))
        )

    @property
    def is_stalled(self) -> bool:
        """Tell whether nothing has run for longer than it may take to begin."""
        last_ns = self.calm_ns
        for run in self.history.runs:
            if run.is_alive:
                return False
            last_ns = max(last_ns, run.end_ns)
        return self.agenda.now_ns - last_ns > STALL_S * SECOND

    def judged(self) -> list[str]:
        """Return every promise that was broken."""
        now_ns = self.agenda.now_ns
        for agent in self.agents.values():
            agent.close_books()
        self.history.lends += self.scheduler.chronicler.ledger.close(now_ns)
        for host in self.hosts.values():
            self.history.lends += [
                Lend("task", *each.part[:1], f"model {each.name} of {host.name}", *each.part[1:],
                     each.start_ns, each.end_ns)
                for each in host.nvml.models
            ]  # fmt: skip
        self.history.found += configuring.unsettled(self)
        return violations(self.history, read_records(self.scheduler.disk.connection))


@dataclass(slots=True)
class Door:
    """The address of a node: whichever agent lives behind it hears what arrives."""

    world: World
    name: str

    def receive(self, source: str, channel: str, payload: bytes, context: int) -> None:
        agent = self.world.agents.get(self.name)
        if agent is not None and agent.alive:
            agent.receive(source, channel, payload, context)


def simulate(plan: Plan, *, keep_trace: bool = False) -> Outcome:
    """Run a plan and judge it; whatever breaks on the way is a finding too."""
    trace = Trace(keep=keep_trace)
    world = World(plan, trace)
    try:
        world.run()
        found = world.judged()
    except Exception as error:  # noqa: BLE001 - whatever breaks is the finding
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{last.filename.rpartition('/')[2]}:{last.lineno}"
        found = [f"bug {type(error).__name__} at {where}: {error}"]
    return Outcome(
        plan.seed, world.agenda.events, world.struck, found, trace.digest(), trace,
        world.agenda.now_ns,
    )  # fmt: skip
