"""What is written down of each turn of the scheduler, and held against what was before."""

from __future__ import annotations

from dataclasses import dataclass, field

from remuda.protocol import ids
from remuda.scheduler import invariants
from remuda.scheduler.core import Core
from remuda.scheduler.records import Commit
from remuda.scheduler.task import State

from ..invariants import History
from . import configuring
from .agenda import Agenda
from .ledger import Ledger

VOUCHED = frozenset({"node lost", "node forget"})


@dataclass(slots=True)
class Chronicler:
    """Outlives the process. `longest_ms` is the longest backoff of a class of failures."""

    agenda: Agenda
    history: History
    longest_ms: int
    ledger: Ledger = field(default_factory=Ledger)

    def judge(self, core: Core) -> None:
        """Hold the state of a core against its own invariants."""
        self.history.found += [f"I8 {words}" for words in invariants.violations(core)]

    def on_durable(self, commit: Commit, core: Core, wall_ms: int) -> None:
        """Take in a turn that is on disk."""
        history, now_ns = self.history, self.agenda.now_ns
        history.found += history.commits.take(commit, now_ns)
        history.lends += self.ledger.take(commit, core, now_ns)
        history.found += [
            f"I13 attempt {row.number} was granted {uuid}, which is cordoned"
            for row in commit.granted
            for uuid in row.gpus
            if uuid in core.cordons and core.recovery is None  # what is adopted runs there already
        ]
        for moved in commit.moved.values():
            task = core.tasks.get(moved.id)
            if moved.state == State.WAITING and task is not None:
                longest_ms = max(task.spec.policy.backoff_longest_ms, self.longest_ms)
                waits = ids.to_bytes(moved.id), moved.due_ms - wall_ms, longest_ms
                history.waits.append(waits)
        if commit.config:
            history.accepted |= configuring.accepted(core)
        for node in core.fleet.nodes.values():
            if node.backlog:
                allowed = core.settings.prefetch_per_node_max
                history.credits.append((len(node.backlog), allowed))
        for row in commit.audit:
            if row.verb in VOUCHED:
                self._vouch(row.subject.partition(":")[0])
        self._trace(commit)

    def _vouch(self, node: str) -> None:
        """A person said that nothing runs there any more: who is wrong breaks the fences."""
        for run in self.history.runs:
            if run.node == node and run.is_alive:
                self.history.fenced.discard(run.task)

    def _trace(self, commit: Commit) -> None:
        trace, now_ns = self.agenda.trace, self.agenda.now_ns
        for row in commit.granted:
            text = f"granted attempt {row.number} to {row.node} {' '.join(row.gpus)}"
            trace.note(now_ns, text, (ids.to_bytes(row.task),))
        for ended in commit.ended:
            text = f"attempt {ended.number} on {ended.node}: {ended.outcome} {ended.message}"
            trace.note(now_ns, text, (ids.to_bytes(ended.task),))
        for result in commit.results:
            text = f"ended: {State(result.state).word} {result.code}"
            trace.note(now_ns, text, (ids.to_bytes(result.id),))
