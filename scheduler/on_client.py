"""What requests of clients do: tasks come in, tasks are called off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..protocol import ids
from ..protocol.messages import Cancelled, Failure, Message, Submitted
from ..protocol.resources import Request, describe_request
from . import life, limits, stopping
from .events import CancelTasks, NewSpec, Now, RequestRefused, SubmitTasks, TaskAsked
from .needs import sized_request, with_size
from .placement import explain_refusals, nowhere
from .records import AuditRow, Effects, SpecRow, SubmissionRow, TaskRow, ToNode
from .task import ON_NODE, Fact, Policy, Spec, State, StopReason, Task, shared

if TYPE_CHECKING:
    from .core import Core

FULL_RETRY_AFTER_MS = 5_000
DISK_RETRY_AFTER_MS = 10_000


def on_submit(core: Core, event: SubmitTasks, now: Now, effects: Effects) -> None:
    """Store a frame of tasks whole, or refuse it whole."""
    if refusal := _why_not(core, event, now):
        effects.replies.append((event.request, refusal))
        return
    first = core.next_number
    objects = event.spec_objects or [b""] * len(event.specs)
    specs = [
        _add_spec(core, new, named, event.principal, effects)
        for new, named in zip(event.specs, objects, strict=True)
    ]
    sized: dict[tuple[int, int, int], Spec] = {}
    for new in event.tasks:
        spec = specs[new.spec_index]
        if new.sized_bytes or new.size_class:
            size = (new.spec_index, new.sized_bytes, new.size_class)
            if size not in sized:
                sized[size] = with_size(spec, new.sized_bytes, new.size_class)
            spec = sized[size]
        task = Task(
            new.id, core.next_number, event.batch, spec, event.session, created_ms=now.wall_ms
        )
        core.next_number += 1
        core.tasks[task.id] = task
        core.counts[State.QUEUED] += 1
        core.buckets.put(task)
        limits.watch(core, task, now)
        effects.commit.tasks.append(
            TaskRow(
                task.id,
                task.number,
                event.batch,
                spec.spec_id,
                event.principal,
                event.specs[new.spec_index].name,
                event.session,
                new.args,
                new.once,
                new.retry_of,
                now.wall_ms,
                new.objects,
                new.sized_bytes,
                new.size_class,
            )
        )
    members = len(event.tasks)
    if event.batch:
        core.batches.add(event.batch, event.principal, members, is_first=not event.offset)
    core.open_by_owner[event.principal] += members
    effects.commit.submissions.append(
        SubmissionRow(
            event.principal,
            event.submit_key,
            event.batch,
            event.batch_key,
            event.offset,
            first,
            members,
            now.wall_ms,
        )
    )
    effects.commit.audit.append(
        AuditRow(now.wall_ms, event.principal, "submit", f"{members} tasks from {first}")
    )
    effects.replies.append((event.request, _submitted(event, first)))


def _submitted(event: SubmitTasks, first_number: int) -> Submitted:
    return Submitted(
        tasks=[] if event.batch else [ids.to_bytes(new.id) for new in event.tasks],
        batch=ids.to_bytes(event.batch) if event.batch else b"",
        offset=event.offset,
        count=len(event.tasks),
        first_number=first_number,
    )


def _why_not(core: Core, event: SubmitTasks, now: Now) -> Failure | None:
    if core.closed:
        return Failure("disk_full", core.closed, retry_after_ms=DISK_RETRY_AFTER_MS)
    settings = core.settings
    for have, most, whose in (
        (len(core.tasks), settings.queued_max, "the cluster"),
        (core.open_by_owner[event.principal], settings.queued_per_owner_max, event.principal),
    ):
        if have + len(event.tasks) > most:
            return Failure(
                "queue_full",
                f"{have:,} tasks of {whose} are open, the limit is {most:,}: try again later",
                retry_after_ms=FULL_RETRY_AFTER_MS,
            )
    for new in event.specs:
        if refusal := _wrong_times(core, new.policy, now):
            return refusal
    if event.allow_infeasible:
        return None
    return next(filter(None, (_infeasible(core, event, *size) for size in _sizes(event))), None)


def _sizes(event: SubmitTasks) -> list[tuple[int, int]]:
    """List the specs, each once with every need for VRAM that its tasks make of it."""
    if not any(spec.vram for spec in event.specs):
        return [(index, 0) for index in range(len(event.specs))]
    return list(dict.fromkeys((new.spec_index, new.sized_bytes) for new in event.tasks))


def _infeasible(core: Core, event: SubmitTasks, index: int, sized_bytes: int) -> Failure | None:
    request = sized_request(event.specs[index].request, sized_bytes)
    if not core.feasibility.refusals(request):
        return None
    reasons = "; or ".join(_never(core, option) for option in core.options.of(request))
    return Failure(
        "infeasible",
        f"no node could ever run this {reasons}; "
        "ask for less, or pass --allow-infeasible to wait for a new node",
        f"specs[{index}]",
    )


def _never(core: Core, option: Request) -> str:
    refusals = core.feasibility.refusals(option)
    why = nowhere(core.fleet, option) or explain_refusals(refusals)
    return f"({describe_request(option)}): {why}"


def _wrong_times(core: Core, policy: Policy, now: Now) -> Failure | None:
    if policy.deadline_ms and policy.deadline_ms <= now.wall_ms:
        ago_s = (now.wall_ms - policy.deadline_ms) / 1000
        text = f"deadline: was {ago_s:.1f} s ago: give a time in the future"
        return Failure("invalid", text, "deadline_ms")
    settings = core.settings
    replace_ms = settings.replace_after_ns // 1_000_000
    most_ms = replace_ms - settings.fence_ms - settings.clock_drift_ms
    if policy.if_node_lost == "fence" and policy.grace_ms >= most_ms:
        text = (
            f"grace: a fenced task has less than {most_ms / 1000:g} s (replace_after less "
            "fence_after and what clocks drift), so that it is surely stopped before it runs again"
        )
        return Failure("invalid", text, "grace_ms")
    return None


def _add_spec(core: Core, new: NewSpec, objects: bytes, owner: str, effects: Effects) -> Spec:
    spec = Spec(core.next_spec_id, shared(new.request), new.policy, new.kind, owner)
    core.next_spec_id += 1
    effects.commit.specs.append(SpecRow(spec.spec_id, new.body, objects))
    return spec


def on_cancel(core: Core, event: CancelTasks, now: Now, effects: Effects) -> None:
    """Call tasks off: at once where no node holds them, else stop them and await the proof."""
    verdicts = [_cancel(core, event, task_id, now, effects) for task_id in event.ids]
    touched = sum(verdict in ("cancelled", "stopping") for verdict in verdicts)
    if touched:
        effects.commit.audit.append(
            AuditRow(now.wall_ms, event.principal, "cancel", f"{touched} tasks")
        )
    tasks = [ids.to_bytes(task_id) for task_id in event.ids]
    reply: Message = Cancelled(tasks, verdicts)
    effects.replies.append((event.request, reply))


def on_refused(_core: Core, event: RequestRefused, now: Now, effects: Effects) -> None:
    """Have the audit name who asked for what he may not do."""
    more = f" ({event.untold} more since the last row)" if event.untold else ""
    row = AuditRow(now.wall_ms, event.principal, "refused", f"{event.what}{more}")
    effects.commit.audit.append(row)


def on_asked(core: Core, event: TaskAsked, now: Now, effects: Effects) -> None:
    """Pass on what reaches into a task, after what was sent to its node before."""
    if event.node not in core.fleet.nodes:
        return  # forgotten in this very turn: whoever asked hears that no answer came
    if event.did:
        verb = f"task {event.message.verb}"
        effects.commit.audit.append(AuditRow(now.wall_ms, event.principal, verb, event.did))
    effects.to_nodes.append(ToNode(event.node, event.message))


def _cancel(core: Core, event: CancelTasks, task_id: int, now: Now, effects: Effects) -> str:
    task = core.tasks.get(task_id)
    if task is None:
        return "not_found" if task_id in event.unknown else "ended"
    if event.owner and task.spec.owner != event.owner:
        return "not_allowed"
    if task.state not in ON_NODE:
        life.finish(core, task, Fact.CANCEL, now, effects, code="cancelled")
        return "cancelled"
    reason = StopReason.CANCELLED
    stopping.stop(core, [task], reason, now, effects, grace_ms=event.grace_ms)
    return "stopping"
