"""What the scheduler decides: a pure machine from events and time to effects."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from ..protocol import capabilities as wire_capabilities
from ..protocol.codec import unpack_document
from . import dispatch, on_client, on_node, recall
from .buckets import Buckets
from .events import (
    CancelTasks,
    Event,
    JoinNode,
    NodeRevoked,
    NodeSays,
    Now,
    Recovered,
    RecoveredAttempt,
    RecoveredTask,
    SubmitTasks,
)
from .fleet import Fleet, Node, first_revision
from .placement import Feasibility
from .records import Effects
from .runtimes import Runtimes
from .task import Attempt, Spec, State, Task
from .tokens import make_token

SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class CoreSettings:
    """The numbers that the core goes by; durations in nanoseconds."""

    suspect_after_ns: int = 6 * SECOND_NS
    lost_after_ns: int = 60 * SECOND_NS
    offer_resend_ns: int = 5 * SECOND_NS
    offer_tries: int = 3
    shun_ns: int = SECOND_NS
    heartbeat_ms: int = 2_000
    lease_ms: int = 30_000
    queued_max: int = 2_000_000
    queued_per_owner_max: int = 1_000_000
    grants_per_turn_max: int = 1_024
    prefetch_ns: int = 50_000_000
    prefetch_per_node_max: int = 512


class Core:
    """The state of the scheduler in memory: every task that has not ended, and the fleet.

    `step` takes what happened and returns what to do; nothing else changes it. The commit among
    the effects must be on disk before any other effect leaves (see `records.Effects`).
    """

    def __init__(
        self,
        recovered: Recovered,
        *,
        epoch: int,
        secret: bytes,
        seed: int,
        settings: CoreSettings,
        now: Now,
    ) -> None:
        self.epoch = epoch
        self.secret = secret
        self.settings = settings
        self.chance = Random(seed)
        self.tasks: dict[int, Task] = {}
        self.fleet = Fleet()
        self.buckets = Buckets()
        self.feasibility = Feasibility(self.fleet)
        self.runtimes = Runtimes()
        self.waits: list[tuple[int, int, int]] = []
        self.open_by_owner: Counter[str] = Counter()
        self.counts: Counter[State] = Counter()
        self.unplaced = False
        self.holds: dict[str, None] = {}
        self.closed = ""
        self.recall_due_ns = 0
        self.next_number = recovered.next_number
        self.next_spec_id = recovered.next_spec_id
        _recover(self, recovered, now)

    def step(self, events: Sequence[Event], now: Now) -> Effects:
        """Take in what happened up to `now` and return what to commit, then send."""
        effects = Effects()
        for event in events:
            _HANDLERS[type(event)](self, event, now, effects)
        on_node.judge_silence(self, now, effects)
        dispatch.end_waits(self, now, effects)
        dispatch.place(self, now, effects)
        recall.take_back(self, now, effects)
        return effects

    def deadline(self) -> int | None:
        """Return the monotonic time at which `step` has something to do without an event."""
        if self.unplaced:
            return 0
        due = [self.waits[0][0]] if self.waits else []
        for node in self.fleet.nodes.values():
            if node.held and not node.lost:
                due.append(node.heard_ns + self.settings.lost_after_ns)
            due += node.shunned.values()
            if node.backlog:
                due.append(self.recall_due_ns)
        return min(due, default=None)

    def hold(self, reason: str) -> None:
        """Grant nothing until every reason to hold is taken back; all else goes on."""
        self.holds[reason] = None

    def resume(self, reason: str) -> None:
        """Take a reason to hold back; after the last one the next step places what waits."""
        if reason in self.holds:
            del self.holds[reason]
            self.unplaced = not self.holds

    def close_intake(self, reason: str) -> None:
        """Refuse new tasks with this reason from now on; without one take them in again."""
        self.closed = reason

    def wait_until(self, task: Task, due_ns: int) -> None:
        """Have a WAITING task looked at again at a monotonic time."""
        task.due_ns = due_ns
        heapq.heappush(self.waits, (due_ns, task.number, task.id))


_HANDLERS: dict[type[Event], Callable[[Core, Any, Now, Effects], None]] = {
    SubmitTasks: on_client.on_submit,
    CancelTasks: on_client.on_cancel,
    JoinNode: on_node.on_join,
    NodeSays: on_node.on_node_says,
    NodeRevoked: on_node.on_revoked,
}


_STATES = tuple(State)  # by number: asked 100,000 times at a start


def _recover(core: Core, recovered: Recovered, now: Now) -> None:
    """Rebuild the state that the journal holds: nodes as last seen, tasks where they were.

    An attempt that was open is taken to live on its node until the node says otherwise, or has
    been silent for `lost_after` from now on.
    """
    for name, blob in recovered.nodes.items():
        known = wire_capabilities.from_document(unpack_document(blob))
        node = core.fleet.nodes[name] = Node(
            name, known, heard_ns=now.mono_ns, rev=first_revision(core.epoch)
        )
        node.take_capabilities(known)
    core.fleet.changed_shape()
    specs: dict[int, Spec] = {}
    for row in recovered.tasks:
        spec = specs.get(row.spec_id)
        if spec is None or spec.owner != row.owner:
            spec = specs[row.spec_id] = Spec(row.spec_id, *recovered.specs[row.spec_id], row.owner)
        _recover_task(core, row, spec, now)
    for attempt in recovered.attempts:
        _recover_attempt(core, attempt, now)
    for task in core.tasks.values():
        core.counts[task.state] += 1
        if task.state is State.QUEUED:
            core.buckets.put(task)


def _recover_task(core: Core, row: RecoveredTask, spec: Spec, now: Now) -> None:
    task = Task(
        row.id,
        row.number,
        row.batch,
        spec,
        row.session,
        _STATES[row.state],
        row.attempts,
        row.charged,
        avoid=row.avoid,
        grace_ms=row.grace_ms,
    )
    core.tasks[task.id] = task
    core.open_by_owner[spec.owner] += 1
    if task.state is State.WAITING:
        left_ns = min(max(row.due_ms - now.wall_ms, 0), spec.policy.backoff_longest_ms) * 1_000_000
        core.wait_until(task, now.mono_ns + left_ns)


def _recover_attempt(core: Core, row: RecoveredAttempt, now: Now) -> None:
    task = core.tasks[row.task]
    node = core.fleet.nodes[row.node]
    request = task.spec.request
    attempt = Attempt(
        number=row.number,
        node=row.node,
        epoch=row.epoch,
        token=make_token(core.secret, row.task, row.number, row.epoch),
        gpus=row.gpus,
        prefetched=not row.gpus and not node.fits(request),
        rev=0,
        offered_ns=now.mono_ns,
        accepted=True,
    )
    task.live = attempt
    if task.state is not State.STOPPING:
        task.state = State.ASSIGNED
    node.add(task, attempt)
