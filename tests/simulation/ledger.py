"""Who lends which card, over time: in the ledger of the scheduler, in the slots of a node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from remuda.node.slots import Charge, Holder
from remuda.scheduler.core import Core
from remuda.scheduler.records import Commit

from ..invariants import Lend


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
            if row.gpus and task is not None and task.live is not None:
                self._open[row.task, row.number] = [
                    Lend("ledger", uuid, f"{row.task:x}/{row.number}", share, vram, now_ns)
                    for uuid, share, vram in task.live.charges
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

    life: str
    _open: dict[tuple[Holder, str], Lend] = field(default_factory=dict)

    def take(self, holders: Mapping[Holder, Charge], now_ns: int) -> list[Lend]:
        """Look at the slots after a turn; return the lends that are over."""
        lent = {
            (holder, part.uuid): part for holder, charge in holders.items() for part in charge.cards
        }
        over = []
        for key, lend in list(self._open.items()):
            part = lent.get(key)
            if part is None or (part.share_milli, part.vram_bytes) != lend[3:5]:
                over.append(self._open.pop(key)._replace(end_ns=now_ns))
        for key, part in lent.items():
            if key not in self._open:
                who = f"{self.life} holder {key[0]}"
                self._open[key] = Lend(
                    "node", part.uuid, who, part.share_milli, part.vram_bytes, now_ns
                )
        return over
