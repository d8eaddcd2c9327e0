"""What is asked and what goes wrong in one run: drawn from a seed, shrunk by leaving things out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from .behaviour import Behaviour

QUICK = Behaviour(100)


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
    FULL_DISK = "the scheduler's disk is full for a while"
    SLOW_DISK = "commits take seconds"
    SCHEDULER_SKEW = "the scheduler's clock runs fast or slow"
    WALL_JUMP = "the scheduler's wall clock jumps"
    AGENT_CRASH = "an agent dies between two turns"
    AGENT_CRASH_MID_TURN = "an agent dies between two effects"
    AGENT_FREEZE = "an agent is stopped for a while"
    NODE_SKEW = "a node's clock runs fast or slow"
    OLD_AGENT = "an agent of the version before takes over"
    HOST_REBOOT = "a host reboots"
    RUNNER_KILL = "a runner is killed"
    BYZANTINE = "a node lies about work that is not its own"
    STALE_WORD = "an old frame of a node arrives again"
    STALE_ORDER = "an old frame of a scheduler arrives again"
    CLIENT_STORM = "a client sends all its submissions again and again"
    NODE_STORM = "a node says all its results again and again"
    GPU_FAULT = "a GPU breaks, or is gone for a while"
    STRANGER = "somebody else takes memory of a GPU"
    BLACK_HOLE = "all that a host runs fails at once"
    RESTORE = "the scheduler is restored from a backup"
    RECONFIGURE = "an operator changes the settings of nodes"
    PRESSURE = "work wants the room of the models that are loaded"


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
    """One request of a client: `verb` is submit, batch, once, cancel, intrude, drain, undrain,
    lost, forget, cordon or uncordon, or disable, enable, reload of the handler; `more` are fields
    of the task's specification.

    For a cancel `shape` and `count` say which tasks; for a verb on a node or a GPU `node` says
    which one, and `count` after how many seconds a drain moves what is left, or that all are meant.
    """

    at_ms: int
    client: str
    verb: str
    shape: int = 0
    count: int = 1
    behaviour: Behaviour = QUICK
    node: str = ""
    more: tuple[tuple[str, object], ...] = ()

    def __str__(self) -> str:
        words = f"{self.at_ms / 1000:8.3f} s  {self.client}: {self.verb} {self.node}"
        if self.node:
            return words
        if self.verb == "cancel":
            return f"{words}{self.count} from {self.shape}"
        words += f"{self.count} of shape {self.shape}, {self.behaviour}"
        return words + "".join(f", {name} {value}" for name, value in self.more)


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is put into a run; with the same seed it always becomes the same history."""

    seed: int
    asks: tuple[Ask, ...]
    faults: tuple[Fault, ...]

    def __str__(self) -> str:
        lines = sorted([*self.asks, *self.faults], key=lambda each: each.at_ms)
        return "\n".join(map(str, lines))
