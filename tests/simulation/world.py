"""One run: a fleet is built, asked and harmed as planned, left in peace, and judged."""

from __future__ import annotations

import traceback
from collections import Counter
from dataclasses import dataclass, field
from random import Random

from remuda.protocol import capabilities as wire
from remuda.scheduler.access import Principal, Role
from remuda.scheduler.core import CoreSettings

from ..fakes.world import GIB, gpu
from ..invariants import History, read_records, violations
from .agenda import MS, SECOND, Agenda, Clock, Trace
from .agent import Agent
from .byzantine import NAME as MALLORY
from .byzantine import Mallory
from .chronicler import Chronicler
from .client import Client
from .harm import Harm
from .host import Host
from .network import Network
from .plan import CLIENTS, NODES, Ask, Kind, Plan
from .scheduler import Scheduler

CAPABILITIES = {
    "alpha": wire.Capabilities(2_000, 8 * GIB, labels={"zone": "a"}),
    "beta": wire.Capabilities(2_000, 8 * GIB, [gpu(1, 8), gpu(2, 8)], labels={"zone": "a"}),
    "gamma": wire.Capabilities(4_000, 64 * GIB, [gpu(3, 24), gpu(4, 80, "NVIDIA H100")]),
}
FUNCTION: dict[str, object] = {"kind": "function", "target": "m:tiny", "argv": []}
SHAPES: tuple[dict[str, object], ...] = (
    {"cpus_milli": 1_000},
    {"cpus_milli": 500, **FUNCTION},
    {"cpus_milli": 1_000, **FUNCTION, "target": "m:other"},
    {"cpus_milli": 2_000, "memory_bytes": 6 * GIB},
    {"vram_bytes": 6 * GIB},
    {"vram_bytes": 40 * GIB, "cpus_milli": 500},
    {"gpus": 1},
    {"gpus": 1, **FUNCTION},
    {"gpus": 2, "cpus_milli": 500},
    {"gpu_milli": 400, "cpus_milli": 0},
    {"labels": {"zone": "a"}},
    {"nodes": ["alpha", "gamma"]},
)
SUSPECT_AFTER_S = 4
LOST_AFTER_S = 13
RECONCILE_S = 15
FENCE_MS, REPLACE_AFTER_S = 6_000, 16
LEASE_S = 10
BACKOFF_S_MAX = 2
GRACE_MS = 2_000
SETTINGS = CoreSettings(
    suspect_after_ns=SUSPECT_AFTER_S * SECOND,
    lost_after_ns=LOST_AFTER_S * SECOND,
    reconcile_ns=RECONCILE_S * SECOND,
    fence_ms=FENCE_MS,
    replace_after_ns=REPLACE_AFTER_S * SECOND,
    lease_ms=LEASE_S * 1_000,
    queued_max=60,
    queued_per_owner_max=40,
    grants_per_turn_max=4,
)
STALL_S = REPLACE_AFTER_S + 2 * LEASE_S + BACKOFF_S_MAX
"""I7: after the last fault nothing is open for so long without that something runs."""
WORK_S_MAX = 3_600
ROLES = {
    **dict.fromkeys(NODES, Role.NODE),
    MALLORY: Role.NODE,
    **dict.fromkeys(CLIENTS, Role.SUBMIT),
    "eve": Role.VIEWER,
}
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
    clients: dict[str, Client] = field(default_factory=dict)
    mallory: Mallory = field(init=False)
    struck: Counter[Kind] = field(default_factory=Counter)
    calm_ns: int = 0

    def __post_init__(self) -> None:
        chance = Random(self.plan.seed)
        self.agenda = Agenda(chance, self.trace)
        self.network = Network(self.agenda)
        principals = {name: Principal(name, role) for name, role in ROLES.items()}
        self.history.principals = {name: role.value for name, role in ROLES.items()}
        longest_ms = max(row.backoff_longest_ms or 0 for row in SETTINGS.policies.values())
        chronicler = Chronicler(self.agenda, self.history, longest_ms)
        self.scheduler = Scheduler(
            self.agenda, self.network, chronicler, self._clock(), SETTINGS, principals
        )
        stations = self.network.stations
        stations["scheduler"] = self.scheduler
        for name, known in CAPABILITIES.items():
            self.hosts[name] = Host(name, self.agenda, self.history, self._clock(), known)
            stations[name] = Door(self, name)
            for card in known.gpus:
                self.history.cards[card.uuid] = card.memory_bytes
        for name in (*CLIENTS, "eve"):
            client = Client(name, self.agenda, self.network, self.history)
            self.clients[name] = client
            stations[name] = client.exchange
        stations[MALLORY] = self.mallory = Mallory(self.network)

    def _clock(self) -> Clock:
        return Clock(self.agenda.chance.randrange(MONO_NS_MAX), WALL_NS)

    def start_agent(self, name: str) -> None:
        """Start the agent of a host, unless one runs."""
        agent = self.agents.get(name)
        if agent is None or not agent.alive:
            self.lives[name] += 1
            self.agents[name] = Agent(self.hosts[name], self.network, self.lives[name])

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
            self.agenda.at(ask.at_ms * MS, lambda ask=ask: self._ask(ask))
        for fault in self.plan.faults:
            self.agenda.at(fault.at_ms * MS, lambda fault=fault: harm.strike(fault))
        ends_ms = [ask.at_ms for ask in self.plan.asks]
        ends_ms += [fault.at_ms + fault.span_ms for fault in self.plan.faults]
        self.calm_ns = max(ends_ms, default=0) * MS
        self.agenda.run(self.calm_ns, lambda: False)
        harm.stop()
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
            and not process.core.tasks
            and all(client.is_content for client in self.clients.values())
            and all(agent.alive and not agent.core.state.attempts for agent in self.agents.values())
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

    def _ask(self, ask: Ask) -> None:
        client = self.clients[ask.client]
        if ask.verb == "cancel":
            if client.tasks:
                first = ask.shape % len(client.tasks)
                client.cancel(client.tasks[first : first + ask.count])
            return
        spec = {
            "kind": "command", "argv": ["x"], **SHAPES[ask.shape], "retries": ask.retries,
            "priority": ask.priority, "grace_ms": GRACE_MS, "backoff_first_ms": 500,
            "backoff_longest_ms": BACKOFF_S_MAX * 1_000,
        }  # fmt: skip
        args = [ask.behaviour.pack()] * ask.count
        more: dict[str, object] = {"allow_infeasible": True}
        if ask.verb == "batch":
            more["batch_key"] = self.agenda.chance.randbytes(16)
        elif ask.verb == "once":
            more["once"] = [f"nightly-{ask.shape}-{at}" for at in range(ask.count)]
        client.submit([spec], args, **more)

    def judged(self) -> list[str]:
        """Return every promise that was broken."""
        now_ns = self.agenda.now_ns
        for agent in self.agents.values():
            agent.close_books()
        self.history.lends += self.scheduler.chronicler.ledger.close(now_ns)
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
