"""What was seen while something ran: by clients, by the scheduler, by nodes, by the tasks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from .commits import Commits

FAR_NS = 1 << 62


class Lend(NamedTuple):
    """A part of a card in somebody's view (`ledger`, `node` or `task`) for a time."""

    view: str
    uuid: str
    holder: str
    share_milli: int
    vram_bytes: int
    start_ns: int
    end_ns: int = FAR_NS


@dataclass(slots=True)
class Run:
    """The life of one process tree, as the task itself would write it down.

    `cards` are (UUID, share in 1/1000, bytes); `succeeded`: it did its work to the end;
    `has_outputs`: something was prepared for it, and what it leaves is to be stored; `is_starved`:
    it was lent too little memory of its cards.
    """

    task: bytes
    attempt: int
    node: str
    start_ns: int
    end_ns: int = FAR_NS
    cards: tuple[tuple[str, int, int], ...] = ()
    succeeded: bool = False
    has_outputs: bool = False
    is_starved: bool = False

    @property
    def is_alive(self) -> bool:
        return self.end_ns == FAR_NS


@dataclass(slots=True)
class Frame:
    """A submission frame that a client sent; `refused` once it was told that nothing is stored.

    Without an answer its outcome is unknown: it may have happened.
    """

    owner: str
    members: int
    refused: bool = False
    answered: bool = False


class Cancelled(NamedTuple):
    """A cancel that was acknowledged with `cancelled` or `stopping`."""

    at_ns: int
    verdict: str


class CacheRead(NamedTuple):
    """What a reader of the cache found, beside what the database had then."""

    cache_rev: int
    database_rev: int


@dataclass(slots=True)
class History:
    """All views of one run; what is empty was not looked at.

    `frames` by (owner, submit key); `budgets` are retries by class of failure. `liars` are nodes
    whose word about their own work is worth nothing. `fenced` are tasks that must never run twice
    at a time, but for attempts `unguarded`: their runner was killed while their agent stood still.
    `prepared` and `stored` are attempts for which that was done. `is_settled` says that the faults
    stopped long enough ago for everything to have ended; `cards` holds the memory of each card.
    `forgotten` are tasks of which a scheduler that was restored knows only the beginning, or
    nothing: they may end otherwise than was said. `waits` are backoffs: (task, drawn ms, longest
    ms). `credits` are (held ahead, allowed). `accepted` names settings of nodes that are durable.
    """

    acknowledged: set[bytes] = field(default_factory=set)
    ends: dict[bytes, list[str]] = field(default_factory=lambda: defaultdict(list))
    budgets: dict[str, int] = field(default_factory=dict)
    frames: dict[tuple[str, bytes], Frame] = field(default_factory=dict)
    cancels: dict[bytes, Cancelled] = field(default_factory=dict)
    principals: dict[str, str] = field(default_factory=dict)
    commits: Commits = field(default_factory=Commits)
    epochs: list[int] = field(default_factory=list)
    obeyed: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    lends: list[Lend] = field(default_factory=list)
    cards: dict[str, int] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    liars: set[str] = field(default_factory=set)
    fenced: set[bytes] = field(default_factory=set)
    forgotten: set[bytes] = field(default_factory=set)
    unguarded: set[tuple[bytes, int]] = field(default_factory=set)
    accepted: set[bytes] = field(default_factory=lambda: {b""})
    prepared: set[tuple[bytes, int]] = field(default_factory=set)
    stored: set[tuple[bytes, int]] = field(default_factory=set)
    waits: list[tuple[bytes, int, int]] = field(default_factory=list)
    credits: list[tuple[int, int]] = field(default_factory=list)
    cache_reads: list[CacheRead] = field(default_factory=list)
    cache_at_rest: CacheRead | None = None
    is_settled: bool = False
    found: list[str] = field(default_factory=list)

    def on_acknowledged(self, tasks: Iterable[bytes]) -> None:
        """Take in what a client was told is stored."""
        self.acknowledged.update(tasks)

    def forget(self, tasks: Iterable[bytes]) -> None:
        """Take in that a restore put tasks back; what becomes of them an operator decides."""
        self.forgotten.update(tasks)
        self.fenced -= self.forgotten

    def on_end(self, task: bytes, state: str) -> None:
        """Take in an end that a client was told of."""
        self.ends[task].append(state)

    def on_cancelled(self, task: bytes, verdict: str, at_ns: int) -> None:
        """Take in what a client was told about a cancel."""
        if verdict in ("cancelled", "stopping"):
            self.cancels.setdefault(task, Cancelled(at_ns, verdict))

    def on_obeyed(self, agent: str, epoch: int) -> None:
        """Take in that an agent did what a scheduler of that epoch said."""
        known = self.obeyed[agent]
        if not known or known[-1] != epoch:
            known.append(epoch)
