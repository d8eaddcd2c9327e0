"""How is a scheduler restored from a backup, who decides then, and what may that make it forget?"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import apsw

from remuda.protocol import ids
from remuda.protocol import messages as m
from remuda.scheduler import recovery
from remuda.scheduler.core import Core
from remuda.scheduler.events import Key
from remuda.scheduler.records import Effects
from remuda.scheduler.recovery import Recovery
from remuda.scheduler.restored import prepare
from remuda.scheduler.task import State

from ..invariants import Commits
from .agenda import SECOND
from .ledger import Ledger
from .scenery import NODES, OPERATOR

if TYPE_CHECKING:
    from .world import World

APART_NS = 2 * SECOND
"""Nobody restores again within so short a time."""
LOOK_NS = SECOND // 2
AWAY_NS = 8 * SECOND
"""So long after the last fault nobody waits for nodes that do not come."""
ADOPTED_OF = 4
"""One stranger in so many is killed, and so is what cannot be adopted after a few tries."""
ADOPT_TRIES = 8


def unasked(core: Core, effects: Effects, node: str, message: m.Message) -> Iterator[str]:
    """I10: until its operator has decided, a restored scheduler starts, moves and stops nothing.

    What somebody cancelled may have ended in the same turn.
    """
    held = core.recovery
    if held is None:
        return
    if isinstance(message, (m.Offer, m.Evict, m.HandlerOrders, m.Configure)):
        yield f"I10 {node} is told to do something by a scheduler that is held"
    if isinstance(message, m.Kill):
        ended = {result.id for result in effects.commit.results}
        for blob, number in zip(message.tasks, message.attempts, strict=True):
            task = core.tasks.get(ids.from_bytes(blob))
            is_asked = task.state is State.STOPPING if task else ids.from_bytes(blob) in ended
            if not is_asked and Key(ids.from_bytes(blob), number, node) not in held.outcasts:
                yield f"I10 {node} is told to stop what nobody let go"


@dataclass(slots=True)
class Backup:
    """A journal as it was, and what had been written down of it by then."""

    data: bytes
    wall_ms: int
    commits: Commits


@dataclass(slots=True)
class Restoring:
    """Put an earlier journal in the place of the one that is; an operator decides what follows."""

    world: World
    pick: int
    _asked: Counter[Key] = field(default_factory=Counter)

    def begin(self, age_ns: int, down_ns: int) -> None:
        """Make a backup now, and come back to it later."""
        scheduler = self.world.scheduler
        chronicler = scheduler.chronicler
        backup = Backup(
            scheduler.disk.connection.serialize("main"),
            scheduler.now.wall_ms,
            copy.deepcopy(chronicler.history.commits),
        )
        self.world.agenda.after(age_ns, lambda: self._restore(backup, down_ns))

    def _restore(self, backup: Backup, down_ns: int) -> None:
        world, scheduler = self.world, self.world.scheduler
        if world.agenda.now_ns < scheduler.restored_ns + APART_NS:
            return
        scheduler.restored_ns = world.agenda.now_ns
        world.agenda.trace.note(world.agenda.now_ns, "the journal is put back to a backup")
        scheduler.crash(down_ns)
        connection = scheduler.disk.connection = apsw.Connection(":memory:")
        connection.deserialize("main", backup.data)
        prepare(
            connection,
            backup_ms=backup.wall_ms,
            principal=OPERATOR,
            now_ms=scheduler.now.wall_ms,
            highest=scheduler.disk.highest.epoch,
        )
        self._forget(backup)
        world.agenda.after(LOOK_NS, self._look)

    def _forget(self, backup: Backup) -> None:
        """What was not over by then may take another course, or may never have been."""
        chronicler = self.world.scheduler.chronicler
        history, now_ns = chronicler.history, self.world.agenda.now_ns
        open_then = history.commits.known - backup.commits.ended.keys()
        history.forget(map(ids.to_bytes, open_then))
        history.commits = backup.commits
        history.lends += chronicler.ledger.close(now_ns)
        chronicler.ledger = Ledger()  # of what is in doubt it is not known what it has

    # --- the operator -----------------------------------------------------------------------

    def _look(self) -> None:
        """Decide on one thing after the other, until the scheduler is released."""
        process = self.world.scheduler.process
        if process is not None:
            held = process.core.recovery
            if held is None:
                return
            message = self._next(held, recovery.missing(process.core, held))
            if message is not None:
                self.world.operator.request(message)
        self.world.agenda.after(LOOK_NS, self._look)

    def _next(self, held: Recovery, missing: list[str]) -> m.DecideRecovery | None:
        is_late = self.world.agenda.now_ns > self.world.calm_ns + AWAY_NS
        if not is_late and any(name in NODES for name in missing):
            return None
        for key in held.strangers:
            self._asked[key] += 1
            is_wanted = key.node in NODES and (self.pick + key.task) % ADOPTED_OF
            verb = "adopt" if is_wanted and self._asked[key] <= ADOPT_TRIES else "kill"
            return m.DecideRecovery(verb, [ids.to_bytes(key.task)], [key.number])
        for task in held.doubts:
            return m.DecideRecovery("fail" if self.pick % 3 == 0 else "rerun", [ids.to_bytes(task)])
        return m.DecideRecovery("release", force=True)
