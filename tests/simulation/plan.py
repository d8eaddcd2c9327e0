"""What is asked and what goes wrong in one run: drawn from a seed, shrunk by leaving things out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from random import Random

from .behaviour import ENDS, Behaviour

NODES = ("alpha", "beta", "gamma")
CLIENTS = ("ana", "bob")
FAULTS_AT_MS = (500, 40_000)
REQUESTS_AT_MS = (0, 35_000)
FAULTS = (3, 8)
REQUESTS = (6, 12)
RUN_MS_MAX = 20_000
TASKS_MAX = 5
QUICK = Behaviour(100)
RETRIES_MAX = 2


class Kind(Enum):
    """What can go wrong."""

    LOSS = "messages get lost"
    DUPLICATION = "messages arrive twice"
    DELAY = "messages are late"
    REORDER = "messages overtake each other"
    PARTITION = "the network is cut"
    ONE_WAY = "the network is cut in one direction"
    CRASH_AT_REST = "the scheduler dies between two turns"
    CRASH_BEFORE_COMMIT = "the scheduler dies before a commit"
    CRASH_AFTER_COMMIT = "the scheduler dies after a commit, before it says anything"
    CRASH_BETWEEN_SENDS = "the scheduler dies between two sends"
    COMMIT_ROLLED_BACK = "a commit fails"
    COMMIT_DURABLE = "a commit fails and is durable all the same"
    SLOW_DISK = "commits take seconds"
    SCHEDULER_SKEW = "the scheduler's clock runs fast or slow"
    WALL_JUMP = "the scheduler's wall clock jumps"
    AGENT_CRASH = "an agent dies between two turns"
    AGENT_CRASH_MID_TURN = "an agent dies between two effects"
    AGENT_FREEZE = "an agent is stopped for a while"
    NODE_SKEW = "a node's clock runs fast or slow"
    HOST_REBOOT = "a host reboots"
    RUNNER_KILL = "a runner is killed"
    BYZANTINE = "a node lies about work that is not its own"
    STALE_WORD = "an old frame of a node arrives again"
    STALE_ORDER = "an old frame of a scheduler arrives again"
    CLIENT_STORM = "a client sends all its submissions again and again"
    NODE_STORM = "a node says all its results again and again"


NETWORK = frozenset(
    {Kind.LOSS, Kind.DUPLICATION, Kind.DELAY, Kind.REORDER, Kind.PARTITION, Kind.ONE_WAY}
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong at a time, to `target` ("": all), for a while, by an amount.

    The meaning of `amount` is the kind's: per cent, a count, parts per million, a pick.
    """

    at_ms: int
    kind: Kind
    target: str = ""
    span_ms: int = 0
    amount: int = 0

    def __str__(self) -> str:
        words = f"{self.at_ms / 1000:8.3f} s  {self.kind.value}"
        words += f" ({self.target or 'all'}"
        words += f", {self.span_ms / 1000:g} s" if self.span_ms else ""
        return f"{words}, {self.amount})"


@dataclass(frozen=True, slots=True)
class Ask:
    """One request of a client: `verb` is submit, batch, once, cancel or intrude."""

    at_ms: int
    client: str
    verb: str
    shape: int = 0
    count: int = 1
    behaviour: Behaviour = QUICK
    retries: int = 0
    priority: int = 50

    def __str__(self) -> str:
        words = f"{self.at_ms / 1000:8.3f} s  {self.client}: {self.verb}"
        if self.verb == "cancel":
            return f"{words} {self.count} from {self.shape}"
        run_ms, ends, stubborn = self.behaviour
        words += f" {self.count} of shape {self.shape}, {run_ms} ms, {ends}"
        return words + (", stubborn" if stubborn else "")


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is put into a run; with the same seed it always becomes the same history."""

    seed: int
    asks: tuple[Ask, ...]
    faults: tuple[Fault, ...]

    def __str__(self) -> str:
        lines = sorted([*self.asks, *self.faults], key=lambda each: each.at_ms)
        return "\n".join(map(str, lines))


def draw(seed: int, shapes: int) -> Plan:
    """Draw the plan of a seed."""
    chance = Random(seed)
    asks = [_draw_ask(chance, shapes) for _ in range(chance.randint(*REQUESTS))]
    kinds = list(Kind)
    faults = [_draw_fault(chance, chance.choice(kinds)) for _ in range(chance.randint(*FAULTS))]
    asks.sort(key=lambda ask: ask.at_ms)
    faults.sort(key=lambda fault: fault.at_ms)
    return Plan(seed, tuple(asks), tuple(faults))


def _draw_ask(chance: Random, shapes: int) -> Ask:
    verb = chance.choice(("submit", "submit", "submit", "batch", "once", "cancel", "intrude"))
    at_ms = chance.randint(*REQUESTS_AT_MS)
    client = chance.choice(CLIENTS)
    if verb == "cancel":
        return Ask(max(at_ms, 2_000), client, verb, chance.randrange(16), chance.randint(1, 3))
    if verb == "intrude":
        return Ask(at_ms, "eve", verb)
    run_ms = chance.choice((5, 30, 300, 1_500, 5_000, RUN_MS_MAX, RUN_MS_MAX))
    behaviour = Behaviour(
        chance.randint(run_ms // 2, run_ms),
        chance.choice(("ok", "ok", *ENDS)),
        chance.random() < 0.2,
    )
    return Ask(
        at_ms, client, verb, chance.randrange(shapes), chance.randint(1, TASKS_MAX), behaviour,
        chance.randint(0, RETRIES_MAX), chance.choice((10, 50, 50, 90)),
    )  # fmt: skip


def _draw_fault(chance: Random, kind: Kind) -> Fault:
    at_ms = chance.randint(*FAULTS_AT_MS)
    node = chance.choice(NODES)
    span_ms = chance.choice((300, 2_000, 8_000, 25_000))
    anybody = chance.choice(("", *NODES, *NODES, *CLIENTS))
    percent = chance.choice((10, 30, 60))
    if kind in (Kind.PARTITION, Kind.ONE_WAY):
        return Fault(at_ms, kind, anybody, span_ms, chance.randrange(2))
    if kind in NETWORK:
        return Fault(at_ms, kind, anybody, span_ms, percent)
    if kind in (Kind.SCHEDULER_SKEW, Kind.NODE_SKEW):
        target = node if kind is Kind.NODE_SKEW else "scheduler"
        return Fault(at_ms, kind, target, 0, chance.choice((-50_000, -2_000, 2_000, 50_000)))
    if kind is Kind.WALL_JUMP:
        return Fault(at_ms, kind, "scheduler", 0, chance.choice((-86_400, -60, 60, 86_400)))
    if kind in (Kind.AGENT_CRASH, Kind.AGENT_CRASH_MID_TURN, Kind.AGENT_FREEZE, Kind.HOST_REBOOT):
        return Fault(at_ms, kind, node, chance.choice((200, 3_000, 12_000)), chance.randrange(4))
    if kind in (Kind.RUNNER_KILL, Kind.NODE_STORM, Kind.STALE_WORD, Kind.STALE_ORDER):
        return Fault(at_ms, kind, node, 0, chance.randint(1, 6))
    if kind is Kind.CLIENT_STORM:
        return Fault(at_ms, kind, chance.choice(CLIENTS), 0, chance.randint(2, 6))
    if kind is Kind.BYZANTINE:
        return Fault(at_ms, kind, "mallory", 0, chance.randrange(1 << 16))
    if kind is Kind.SLOW_DISK:
        return Fault(at_ms, kind, "scheduler", chance.choice((700, 2_500, 7_000)), 3)
    down_ms = chance.choice((100, 1_000, 4_000, 9_000))
    return Fault(at_ms, kind, "scheduler", down_ms, chance.randrange(6))
