"""What the scheduler decides: a pure machine from events and time to effects."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from ..protocol import asks
from ..protocol import capabilities as wire_capabilities
from ..protocol.codec import pack_document, unpack_document
from ..protocol.resources import Request
from . import (
    black_holes,
    configured,
    cordons,
    dispatch,
    forecast,
    handler_orders,
    limits,
    on_client,
    on_handlers,
    on_node,
    on_operator,
    on_recovery,
    recall,
    recovery,
    silence,
    warmth,
)
from .admission import Admission
from .batches import Batches
from .black_holes import BlackHoles, Rules
from .buckets import Buckets
from .configured import Wanted
from .events import (
    CancelTasks,
    ConfigChanged,
    CordonGpu,
    DrainNode,
    Event,
    JoinNode,
    NodeDeclaredLost,
    NodeForgotten,
    NodeRevoked,
    NodeSays,
    Now,
    Recovered,
    RecoveredAttempt,
    RecoveredTask,
    RecoveryDecided,
    ReloadHandler,
    RequestRefused,
    SubmitTasks,
    SwitchHandler,
    TaskAsked,
    UncordonGpu,
    UndrainNode,
)
from .evictions import Claim
from .fleet import Drain, Fleet, Node, first_revision
from .handler_orders import Declared, Handlers
from .learned import Learned
from .limits import Limits
from .needs import Needs, with_raised, with_size
from .options import Options
from .paces import Paces
from .placement import Feasibility
from .records import CordonRow, Effects, NodeRow
from .reservations import Reservations
from .retry import (
    PACKAGED,
    Policies,
    longest_pause_ms,
    read_cards,
    read_ran,
    read_spent,
    waits_for_another,
)
from .runtimes import Runtimes
from .scores import PACKED, Rating
from .task import Attempt, Raised, Spec, State, StopReason, Task, shared
from .tokens import make_token
from .warmth import Warmth

SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class CoreSettings:
    """The numbers that the core goes by; durations in nanoseconds."""

    suspect_after_ns: int = 6 * SECOND_NS
    lost_after_ns: int = 60 * SECOND_NS
    replace_after_ns: int = 90 * SECOND_NS
    fence_ms: int = 45_000
    clock_drift_ms: int = 10_000
    reconcile_ns: int = 60 * SECOND_NS
    fuse_nodes_min: int = 5
    forget_after_ms: int = 7 * 24 * 3_600_000
    upkeep_ns: int = SECOND_NS
    policies: Policies = field(default_factory=lambda: PACKAGED)
    black_holes: Rules = field(default_factory=Rules)
    offer_resend_ns: int = 5 * SECOND_NS
    offer_tries: int = 3
    shun_ns: int = SECOND_NS
    warm_wait_ns: int = 60 * SECOND_NS
    heartbeat_ms: int = 2_000
    lease_ms: int = 30_000
    queued_max: int = 2_000_000
    queued_per_owner_max: int = 1_000_000
    grants_per_turn_max: int = 1_024
    prefetch_ns: int = 50_000_000
    prefetch_per_node_max: int = 512
    order_window_ms: int = 60_000
    reserve_after_ns: int = 60 * SECOND_NS
    reservations_max: int = 4
    rating: Rating = PACKED
    handlers: Mapping[str, Declared] = field(default_factory=dict)


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
        self.buckets = Buckets(
            partial(waits_for_another, settings.policies),
            settings.order_window_ms,
            partial(forecast.pace, self),
        )
        self.feasibility = Feasibility(self.fleet)
        self.runtimes = Runtimes()
        self.paces = Paces()
        self.rating = settings.rating
        self.needs = Needs()
        self.learned = Learned()
        self.options = Options(self.fleet, self.learned)
        self.cordons: dict[str, CordonRow] = {}
        self.black_holes = BlackHoles()
        self.handlers = Handlers(dict(settings.handlers))
        self.limits = Limits()
        self.warmth = Warmth()
        self.claims: dict[Request, Claim] = {}
        self.reservations = Reservations()
        self.admission = Admission()
        self.waits: list[tuple[int, int, int]] = []
        self.fuse_names: tuple[str, ...] = ()
        self.reconcile_until_ns = now.mono_ns + settings.reconcile_ns
        self.silence_due_ns = self.upkeep_due_ns = now.mono_ns
        self.open_by_owner: Counter[str] = Counter()
        self.counts: Counter[State] = Counter()
        self.batches = Batches()
        self.unplaced = False
        self.holds: dict[str, None] = {}
        self.closed = ""
        self.wanted = Wanted()
        self.recovery: recovery.Recovery | None = None
        self.floors = recovered.floors
        self.recall_due_ns = 0
        self.next_number = recovered.next_number
        self.next_spec_id = recovered.next_spec_id
        _recover(self, recovered, now)

    def step(self, events: Sequence[Event], now: Now) -> Effects:
        """Take in what happened up to `now` and return what to commit, then send."""
        effects = Effects()
        for event in events:
            _HANDLERS[type(event)](self, event, now, effects)
        silence.judge(self, now, effects)
        black_holes.judge(self, now, effects)
        if self.recovery is None:
            on_operator.judge(self, now, effects)
            limits.judge(self, now, effects)
        dispatch.end_waits(self, now, effects)
        warmth.end_waits(self, now)
        dispatch.place(self, now, effects)
        if not self.holds:  # else what is taken back would wait for nothing
            recall.take_back(self, now, effects)
        return effects

    def deadline(self) -> int | None:
        """Return the monotonic time at which `step` has something to do without an event."""
        if self.unplaced:
            return 0
        due = [self.waits[0][0]] if self.waits else []
        is_free = self.recovery is None  # else nothing is moved or stopped
        upkeep_ns = self.upkeep_due_ns if is_free else silence.FAR_NS
        due += (at for at in (self.silence_due_ns, upkeep_ns) if at < silence.FAR_NS)
        at_times = [self.black_holes.due_ns(), self.warmth.due_ns]
        if is_free:
            at_times += [self.limits.due_ns, self.reservations.due_ns]
        due += (at for at in at_times if at is not None)
        for node in self.fleet.nodes.values():
            due += node.shunned.values()
            if node.backlog and not self.holds:
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

    def excuse_silence(self, for_ns: int, now: Now) -> None:
        """Count no silence for a time in which the scheduler itself stood still.

        What nodes said then may be lost with their connections, which the library ends as it wakes.
        """
        for node in self.fleet.nodes.values():
            if not node.lost:
                node.heard_ns = min(node.heard_ns + for_ns, now.mono_ns)

    def upkeep_soon(self, now: Now) -> None:
        """Have drains and long losses looked at again."""
        self.upkeep_due_ns = min(self.upkeep_due_ns, now.mono_ns + self.settings.upkeep_ns)

    def write_node(self, node: Node, effects: Effects) -> None:
        """Journal what is durable of a node."""
        drain = node.drain or Drain("", 0, 0)
        document = wire_capabilities.to_document(node.capabilities)
        effects.commit.nodes[node.name] = NodeRow(
            node.name,
            node.boot_id,
            pack_document(document),
            node.seen_ms,
            node.lost,
            drain.since_ms,
            drain.reason,
            drain.due_ms,
            node.protocol,
        )

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
    DrainNode: on_operator.on_drain,
    UndrainNode: on_operator.on_undrain,
    NodeDeclaredLost: on_operator.on_declared_lost,
    NodeForgotten: on_operator.on_forgotten,
    CordonGpu: cordons.on_cordon,
    UncordonGpu: cordons.on_uncordon,
    SwitchHandler: on_handlers.on_switch,
    ReloadHandler: on_handlers.on_reload,
    TaskAsked: on_client.on_asked,
    ConfigChanged: configured.on_changed,
    RequestRefused: on_client.on_refused,
    RecoveryDecided: on_recovery.on_decided,
}


_STATES = tuple(State)  # by number: asked 100,000 times at a start


def _recover(core: Core, recovered: Recovered, now: Now) -> None:
    """Rebuild the state that the journal holds: nodes as last seen, tasks where they were.

    An attempt that was open is taken to live on its node until the node says otherwise, or has
    been silent for `lost_after` from now on.
    """
    for stored in recovered.nodes:
        _recover_node(core, stored, now)
    cordons.recover(core, recovered.cordons)
    handler_orders.recover(core, recovered.handlers)
    black_holes.recover(core, now)
    core.fleet.changed_shape()
    core.learned.recover(recovered.learned)
    for kind, known in core.learned.items():
        core.runtimes.recover(kind, known.run_ms)
    specs: dict[int, Spec] = {}
    same: dict[str | bytes, Any] = {}  # one object for equal owners, and for equal sessions
    for row in recovered.tasks:
        spec = specs.get(row.spec_id)
        if spec is None or spec.owner != row.owner:
            owner = same.setdefault(row.owner, row.owner)
            spec = specs[row.spec_id] = Spec(row.spec_id, *recovered.specs[row.spec_id], owner)
        _recover_task(core, row, spec, same.setdefault(row.session, row.session), now)
    for attempt in recovered.attempts:
        _recover_attempt(core, attempt, now)
    recovery.recover(core, recovered)
    for task in core.tasks.values():
        core.counts[task.state] += 1
        if task.batch:
            core.batches.recover(task, recovered.ended_of)
        if task.state is State.QUEUED:
            core.buckets.put(task)


def _recover_node(core: Core, row: NodeRow, now: Now) -> None:
    known = wire_capabilities.from_document(unpack_document(row.capabilities))
    node = core.fleet.nodes[row.name] = Node(
        row.name,
        known,
        boot_id=row.boot_id,
        protocol=row.protocol,
        lost=row.lost,
        seen_ms=row.seen_ms,
        heard_ns=now.mono_ns,
        rev=first_revision(core.epoch),
        parts=core.fleet.parts,
    )
    if row.drained_ms:
        node.drain = Drain(row.drain_reason, row.drained_ms, row.drain_due_ms)
    node.take_capabilities(known)


def _recover_task(core: Core, row: RecoveredTask, spec: Spec, session: bytes, now: Now) -> None:
    task = Task(
        row.id,
        row.number,
        row.batch,
        spec,
        session,
        _STATES[row.state],
        row.attempts,
        row.charged,
        avoid=tuple(row.avoid.split()) if row.avoid else (),
        grace_ms=row.grace_ms,
        created_ms=row.created_ms,
    )
    if row.spent:
        task.spent, task.ran = read_spent(row.spent), read_ran(row.spent)
    task.spec = with_size(task.spec, row.sized_bytes, row.size_class)
    raised = Raised(row.memory_bytes, row.vram_bytes, read_cards(row.spent))
    task.spec = with_raised(task.spec, raised)
    core.tasks[task.id] = task
    core.open_by_owner[spec.owner] += 1
    limits.watch(core, task, now)
    if task.state is State.STOPPING:
        task.stop = StopReason(row.stop)
    if task.state is State.WAITING:
        # A clock that was set back meanwhile makes no wait longer than it can be.
        longest_ms = longest_pause_ms(core.settings.policies, spec.policy)
        left_ns = min(max(row.due_ms - now.wall_ms, 0), longest_ms) * 1_000_000
        core.wait_until(task, now.mono_ns + left_ns)


def _recover_attempt(core: Core, row: RecoveredAttempt, now: Now) -> None:
    task = core.tasks[row.task]
    node = core.fleet.nodes[row.node]
    request = shared(asks.granted(task.spec.request, row.asked))
    attempt = Attempt(
        number=row.number,
        node=row.node,
        epoch=row.epoch,
        token=make_token(core.secret, row.task, row.number, row.epoch),
        request=request,
        gpus=row.gpus,
        prefetched=request.may_go_ahead and not row.gpus and not node.has_room(request),
        rev=0,
        offered_ns=now.mono_ns,
        accepted=True,
    )
    task.live = attempt
    if task.state is not State.STOPPING:
        task.state = State.ASSIGNED
    node.add(task, attempt)
