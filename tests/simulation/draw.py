"""Which plan has a seed?"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from .behaviour import ENDS, Behaviour
from .configuring import CHOICES
from .plan import NETWORK, Ask, Fault, Kind, Plan
from .scenery import (
    CARDS,
    CLIENTS,
    HANDLER_NODE,
    INTRUDER,
    NODES,
    OPERATOR,
    RUN_MS_MAX,
    SHAPES,
)

FAULTS = (3, 8)
FAULTS_AT_MS = (500, 40_000)
FAULTY_MS = (2_000, 9_000, 20_000)
BACKUP_AGES_MS = (500, 3_000, 12_000)
ASKS = (6, 12)
ASKS_AT_MS = (0, 35_000)
TASKS_MAX = 5
OUTPUTS_SHARE = 0.25
RETRIES_MAX = 2
ON_HANDLER = ("disable", "enable", "reload")
DEEDS = ("drain", "drain", "undrain", "lost", "forget", "cordon", "uncordon", *ON_HANDLER)
VERBS = ("submit",) * 5 + ("batch", "once", "cancel", "cancel", "intrude", "operate", "operate")
CODES = (
    "exit_code", "exit_code", "exception", "out_of_memory", "gpu_out_of_memory", "network",
    "disk_full", "code_missing", "model_unavailable", "result_not_encodable",
)  # fmt: skip
_NAMES = tuple(NODES)
_WITH_CARDS = tuple(name for name, known in NODES.items() if known.gpus)
# Long silence is what most of the timers are about.
KINDS = (*Kind, *((Kind.PARTITION, Kind.ONE_WAY) * 2))


def draw(seed: int, kinds: Sequence[Kind] = KINDS) -> Plan:
    """Draw what is asked and what goes wrong, of some kinds only if wanted."""
    chance = Random(seed)
    asks = [_draw_ask(chance) for _ in range(chance.randint(*ASKS))]
    faults = [_draw_fault(chance, chance.choice(kinds)) for _ in range(chance.randint(*FAULTS))]
    asks.sort(key=lambda ask: ask.at_ms)
    faults.sort(key=lambda fault: fault.at_ms)
    return Plan(seed, tuple(asks), tuple(faults))


def _draw_ask(chance: Random) -> Ask:
    verb = chance.choice(VERBS)
    at_ms = chance.randint(*ASKS_AT_MS)
    client = chance.choice(CLIENTS)
    if verb == "cancel":
        return Ask(max(at_ms, 2_000), client, verb, chance.randrange(16), chance.randint(1, 3))
    if verb == "intrude":
        return Ask(at_ms, INTRUDER, "submit")
    if verb == "operate":
        verb = chance.choice(DEEDS)
        if verb in ("cordon", "uncordon"):
            return Ask(at_ms, OPERATOR, verb, node=chance.choice(CARDS))
        if verb in ON_HANDLER:
            return Ask(at_ms, OPERATOR, verb, 0, chance.randrange(2), node=HANDLER_NODE)
        return Ask(at_ms, OPERATOR, verb, 0, chance.choice((0, 1, 5)), node=chance.choice(_NAMES))
    run_ms = chance.choice((5, 30, 300, 1_500, 5_000, RUN_MS_MAX, RUN_MS_MAX))
    behaviour = Behaviour(
        chance.randint(run_ms // 2, run_ms),
        chance.choice(("ok", "ok", *ENDS)),
        chance.choice(CODES),
        chance.random() < 0.2,
    )
    return Ask(
        at_ms, client, verb, chance.randrange(len(SHAPES)), chance.randint(1, TASKS_MAX), behaviour,
        more=_draw_wishes(chance, run_ms),
    )  # fmt: skip


def _draw_wishes(chance: Random, run_ms: int) -> tuple[tuple[str, object], ...]:
    """Draw what a task wants besides its resources; `in_ms` stands for a time from the asking."""
    wishes: dict[str, object] = {
        "retries": chance.randint(0, RETRIES_MAX),
        "priority": chance.choice((10, 50, 50, 90)),
        "if_node_lost": chance.choice(("rerun", "rerun", "rerun", "fence", "fence", "fail")),
    }
    extra = chance.choice(("", "", "", "timeout", "start", "deadline", "expires", "on", "never"))
    if extra == "timeout":
        wishes["timeout_ms"] = max(run_ms * 3 // 4, 1)
    elif extra == "start":
        wishes["start_timeout_ms"] = chance.choice((200, 2_000, 8_000))
    elif extra == "deadline":
        wishes["deadline_in_ms"] = chance.choice((1_000, 8_000, 30_000))
    elif extra == "expires":
        wishes["expires_ms"] = chance.choice((500, 5_000, 20_000))
    elif extra == "on":
        wishes["retry_on"] = ["exit_code", "timeout"]
    elif extra == "never":
        wishes["never_on"] = [chance.choice(("exit_code", "network", "node_lost"))]
    if chance.random() < OUTPUTS_SHARE:
        wishes["outputs"] = ["*.png"]
    return tuple(wishes.items())


def _draw_fault(chance: Random, kind: Kind) -> Fault:
    at_ms = chance.randint(*FAULTS_AT_MS)
    node = chance.choice(_NAMES)
    span_ms = chance.choice((300, 2_000, 8_000, 25_000, 25_000))
    anybody = chance.choice(("", *_NAMES, *_NAMES, *CLIENTS, OPERATOR))
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
    if kind in (
        Kind.AGENT_CRASH,
        Kind.AGENT_CRASH_MID_TURN,
        Kind.AGENT_FREEZE,
        Kind.HOST_REBOOT,
        Kind.OLD_AGENT,
    ):
        return Fault(at_ms, kind, node, chance.choice((200, 3_000, 22_000)), chance.randrange(4))
    if kind in (Kind.RUNNER_KILL, Kind.NODE_STORM, Kind.STALE_WORD, Kind.STALE_ORDER):
        return Fault(at_ms, kind, node, 0, chance.randint(1, 6))
    if kind in (Kind.GPU_FAULT, Kind.STRANGER):
        lasts_ms, target = chance.choice(FAULTY_MS), chance.choice(_WITH_CARDS)
        return Fault(at_ms, kind, target, lasts_ms, chance.randrange(16))
    if kind is Kind.BLACK_HOLE:
        return Fault(at_ms, kind, node, chance.choice(FAULTY_MS), 0)
    if kind is Kind.PRESSURE:
        return Fault(at_ms, kind, chance.choice(CLIENTS), 0, chance.randint(1, 2))
    if kind is Kind.CLIENT_STORM:
        return Fault(at_ms, kind, chance.choice(CLIENTS), 0, chance.randint(2, 6))
    if kind is Kind.BYZANTINE:
        return Fault(at_ms, kind, "mallory", 0, chance.randrange(1 << 16))
    if kind is Kind.RECONFIGURE:
        target = chance.choice(("", "", *_NAMES))
        return Fault(at_ms, kind, target, 0, chance.randrange(CHOICES))
    if kind is Kind.RESTORE:
        return Fault(at_ms, kind, "scheduler", chance.choice(BACKUP_AGES_MS), chance.randrange(12))
    if kind is Kind.FULL_DISK:
        return Fault(at_ms, kind, "scheduler", chance.choice((2_000, 10_000)), 0)
    if kind is Kind.SLOW_DISK:
        return Fault(at_ms, kind, "scheduler", chance.choice((700, 2_500, 7_000)), 3)
    down_ms = chance.choice((100, 1_000, 4_000, 9_000))
    return Fault(at_ms, kind, "scheduler", down_ms, chance.randrange(6))
