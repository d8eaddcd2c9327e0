"""Who lends what, over time: in the ledger of the scheduler, in the slots of a node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from remuda.node.slots import Charge, Holder
from remuda.scheduler.core import Core
from remuda.scheduler.records import Commit

from ..invariants import Lend
from .things import Part, parts


@dataclass(slots=True)
class Ledger:
    """Open lends by (task, attempt); a closed one is handed out when its attempt ends."""

    _open: dict[tuple[int, int], list[Lend]] = field(default_factory=dict)

    def take(self, commit: Commit, core: Core, now_ns: int) -> list[Lend]:
        """Take in a turn that became durable; return the lends that it ended."""
        closed: list[Lend] = []
        for ended in commit.ended:
            if ended.outcome != "superseded":
                lends = self._open.pop((ended.task, ended.number), [])
                closed += [lend._replace(end_ns=now_ns) for lend in lends]
        for row in commit.granted:
            task = core.tasks.get(row.task)
            if task is not None and (live := task.live) is not None:
                asked = live.request
                others = parts(live.node, asked.resources, exclusive=asked.exclusive)
                self._open[row.task, row.number] = [
                    Lend("ledger", uuid, f"{row.task:x}/{row.number}", share, vram, now_ns)
                    for uuid, share, vram in (*live.charges, *others)
                ]
        return closed

    def close(self, now_ns: int) -> list[Lend]:
        """Hand out what is still lent, as if it ended now."""
        left = [lend for lends in self._open.values() for lend in lends]
        self._open.clear()
        return [lend._replace(end_ns=now_ns) for lend in left]


@dataclass(slots=True)
class SlotsView:
    """What one life of an agent counts as lent."""

    node: str
    life: str
    _open: dict[tuple[Holder, str], Lend] = field(default_factory=dict)

    def take(self, holders: Mapping[Holder, Charge], now_ns: int) -> list[Lend]:
        """Look at the slots after a turn; return the lends that are over."""
        lent = {
            (holder, part[0]): part
            for holder, charge in holders.items()
            for part in self._parts(holder, charge)
        }
        over = []
        for key, lend in list(self._open.items()):
            part = lent.get(key)
            if part is None or part[1:] != lend[3:5]:
                over.append(self._open.pop(key)._replace(end_ns=now_ns))
        for key, part in lent.items():
            if key not in self._open:
                who = f"{self.life} holder {key[0]}"
                self._open[key] = Lend("node", *key[1:], who, *part[1:], now_ns)
        return over

    def _parts(self, holder: Holder, charge: Charge) -> list[Part]:
        """Return what a holder has; the node itself is a matter of tasks."""
        cards: list[Part] = [tuple(part) for part in charge.cards]
        if not isinstance(holder, int):
            return cards
        return cards + parts(self.node, charge.resources, exclusive=charge.exclusive)
