"""What requests of clients do: tasks come in, tasks are called off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..protocol import ids
from ..protocol.messages import Cancelled, Failure, Kill, Message, Submitted
from ..protocol.resources import describe_request
from . import life
from .events import CancelTasks, NewSpec, Now, SubmitTasks
from .placement import explain_refusals
from .records import AuditRow, Effects, SpecRow, SubmissionRow, TaskRow, ToNode
from .task import ON_NODE, Fact, Spec, State, Task, shared

if TYPE_CHECKING:
    from .core import Core

FULL_RETRY_AFTER_MS = 5_000
DISK_RETRY_AFTER_MS = 10_000


def on_submit(core: Core, event: SubmitTasks, now: Now, effects: Effects) -> None:
    """Store a frame of tasks whole, or refuse it whole."""
    if refusal := _why_not(core, event):
        effects.replies.append((event.request, refusal))
        return
    first = core.next_number
    specs = [_add_spec(core, new, event.principal, effects) for new in event.specs]
    for new in event.tasks:
        spec = specs[new.spec_index]
        task = Task(new.id, core.next_number, event.batch, spec, event.session)
        core.next_number += 1
        core.tasks[task.id] = task
        core.counts[State.QUEUED] += 1
        core.buckets.put(task)
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
            )
        )
    members = len(event.tasks)
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


def _why_not(core: Core, event: SubmitTasks) -> Failure | None:
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
    if event.allow_infeasible:
        return None
    for new in event.specs:
        if refusals := core.feasibility.refusals(new.request):
            return Failure(
                "infeasible",
                f"no node could ever run this ({describe_request(new.request)}): "
                f"{explain_refusals(refusals)}; ask for less, or pass --allow-infeasible "
                "to wait for a new node",
            )
    return None


def _add_spec(core: Core, new: NewSpec, owner: str, effects: Effects) -> Spec:
    spec = Spec(core.next_spec_id, shared(new.request), new.policy, new.kind, owner)
    core.next_spec_id += 1
    effects.commit.specs.append(SpecRow(spec.spec_id, new.body))
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


def _cancel(core: Core, event: CancelTasks, task_id: int, now: Now, effects: Effects) -> str:
    task = core.tasks.get(task_id)
    if task is None:
        return "ended" if task_id in event.ended else "not_found"
    if event.owner and task.spec.owner != event.owner:
        return "not_allowed"
    if task.state not in ON_NODE:
        life.finish(core, task, Fact.CANCEL, now, effects, code="cancelled")
        return "cancelled"
    task.grace_ms = event.grace_ms
    if task.state is not State.STOPPING:
        life.advance(core, task, Fact.STOP)
        life.tell(task, effects, code="cancelled")
    life.record_position(task, effects)
    send_kill(core, [task], effects)
    return "stopping"


def send_kill(core: Core, tasks: list[Task], effects: Effects) -> None:
    """Tell one node to stop tasks that it holds; repeated until it shows that they are gone."""
    attempts = [task.live for task in tasks if task.live]
    node = core.fleet.nodes[attempts[0].node]
    if not node.connected:
        return
    effects.to_nodes.append(
        ToNode(
            node.name,
            Kill(
                incarnation=node.incarnation,
                tasks=[ids.to_bytes(task.id) for task in tasks],
                attempts=[attempt.number for attempt in attempts],
                grace_ms=[task.grace_ms for task in tasks],
                reasons=["cancelled"] * len(tasks),
            ),
        )
    )
