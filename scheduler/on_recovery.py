"""What an operator decides of a restored journal: adopt, kill, run again, fail, release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..protocol import asks, ids
from ..protocol.errors import Conflict, NotFound, RemudaError
from ..protocol.messages import Done, Failure, Kill, Phase
from . import life, limits, recovery
from .events import Adopt, Key, Now, RecoveryDecided
from .needs import with_size
from .records import (
    AttemptGranted,
    AuditRow,
    Effects,
    Note,
    OutcastRow,
    SpecRow,
    SubmissionRow,
    TaskRow,
    ToNode,
)
from .recovery import Recovery, Stranger
from .task import Attempt, Fact, Spec, State, Task, shared

if TYPE_CHECKING:
    from .core import Core

KILLED = "an operator let it go after a restore"
RERUN = "restored from a backup; started again on the word of"
FAILED_TEXT = "the scheduler was restored from a backup; what became of it is not known"


def on_decided(core: Core, event: RecoveryDecided, now: Now, effects: Effects) -> None:
    """Do what was decided, all of it, or refuse it with the first thing that stands against it."""
    held = core.recovery
    try:
        if held is None:
            raise Conflict("this scheduler is not held: nothing is to be decided")
        said = _VERBS[event.verb](core, held, event, now, effects)
    except RemudaError as error:
        effects.replies.append((event.request, Failure(error.code, error.message, error.field)))
        return
    row = AuditRow(now.wall_ms, event.principal, f"recovery {event.verb}", said)
    effects.commit.audit.append(row)
    facts: dict[str, object] = {"by": event.principal, "what": said}
    effects.notes.append(Note("info", f"recovery {event.verb}", facts))
    effects.replies.append((event.request, Done(said)))


# --- strangers -----------------------------------------------------------------------------


def _adopt(core: Core, held: Recovery, event: RecoveryDecided, now: Now, effects: Effects) -> str:
    left = ""
    taken: list[Adopt] = []
    for each in event.adopted:
        reason = _why_not(core, held, each)
        if reason and not event.everything:
            raise Conflict(f"{_named(each.key)}: {reason}", field="tasks")
        if reason:
            left = left or f"{_named(each.key)}: {reason}"
        else:
            taken.append(each)
    if not taken:
        raise Conflict(left)
    for each in taken:
        stranger = held.strangers[each.key]
        _take_in(core, stranger, each, now, effects)
        held.drop(each.key)
    more = f"; {len(event.adopted) - len(taken)} left: {left}" if left else ""
    return f"{_attempts(len(taken))} adopted{more}"


def _why_not(core: Core, held: Recovery, each: Adopt) -> str:
    """Say why an attempt cannot be adopted; empty when it can."""
    stranger = held.strangers.get(each.key)
    node = core.fleet.nodes.get(each.key.node)
    if stranger is None or node is None or not node.connected:
        return "its node does not hold it any more, or is away"
    if not stranger.epoch:
        return "its token was not made by this cluster: it can only be killed"
    if each.has_ended:
        return "the journal has its end, which never changes: kill this attempt"
    if not stranger.document:
        return "its node has not said yet what it is: ask again in a moment, or upgrade its agent"
    if any(other.key.number > each.key.number for other in held.of_task(each.key.task)):
        return "a later attempt of the same task lives: decide on that one first"
    task = core.tasks.get(each.key.task)
    if task is None and each.spec is None:
        return "what its node says of it cannot be read: it can only be killed"
    if task is not None and each.key.number <= task.attempt:
        return "the journal has the end of this attempt, or knows a later one: kill it"
    return ""


def _take_in(core: Core, stranger: Stranger, each: Adopt, now: Now, effects: Effects) -> None:
    """Make an attempt the living one of its task, which may be new to the journal."""
    key, known = each.key, core.tasks.get(each.key.task)
    task = _new_task(core, each, now, effects) if known is None else known
    if task.live is not None:
        text = "the journal was restored: a later attempt was adopted"
        life.close_attempt(core, task, "lost", now, effects, message=text)
        life.advance(core, task, Fact.REQUEUE)
    elif task.state is State.WAITING:
        life.advance(core, task, Fact.READY)
    if known is not None:
        life.record_position(task, effects)
    life.advance(core, task, Fact.GRANT)
    node = core.fleet.nodes[key.node]
    task.attempt = key.number
    asked = _asked(task, each)
    attempt = task.live = Attempt(
        key.number, key.node, stranger.epoch, stranger.token,
        shared(asks.granted(task.spec.request, asked)), each.gpus,
        prefetched=False, rev=node.rev, offered_ns=now.mono_ns, accepted=True,
    )  # fmt: skip
    node.add(task, attempt)
    effects.commit.granted.append(
        AttemptGranted(task.id, key.number, key.node, stranger.epoch, each.gpus, now.wall_ms, asked)
    )
    if stranger.phase == Phase.RUNNING:
        life.advance(core, task, Fact.START)
    recovery.settle(core, task, effects)
    life.tell(task, effects)


def _asked(task: Task, each: Adopt) -> bytes:
    """Write what was granted of what a task asks for, as its node knows that."""
    if each.spec is None or each.spec.request == task.spec.request:
        return asks.AS_ASKED
    return asks.to_blob(each.spec.request)


def _new_task(core: Core, each: Adopt, now: Now, effects: Effects) -> Task:
    """Write a task down that was submitted after the backup, as its node knows it."""
    new = each.spec
    assert new is not None
    spec = Spec(core.next_spec_id, shared(new.request), new.policy, new.kind, each.owner)
    core.next_spec_id += 1
    spec = with_size(spec, 0, 0)
    effects.commit.specs.append(SpecRow(spec.spec_id, new.body))
    task = Task(each.key.task, core.next_number, each.batch, spec, b"", created_ms=now.wall_ms)
    core.next_number += 1
    core.tasks[task.id] = task
    core.counts[State.QUEUED] += 1
    core.open_by_owner[each.owner] += 1
    limits.watch(core, task, now)
    if each.batch:
        core.batches.add(each.batch, each.owner, 1, is_first=False)
    offset = task.id - each.batch - 1 if each.batch else 0
    effects.commit.tasks.append(
        TaskRow(
            task.id, task.number, each.batch, spec.spec_id, each.owner, new.name, b"", each.args,
            "", 0, now.wall_ms,
        )
    )  # fmt: skip
    # The key of its frame is gone with the journal that had it; its own id is as unique.
    effects.commit.submissions.append(
        SubmissionRow(
            each.owner, ids.to_bytes(task.id), each.batch, b"", offset, task.number, 1, now.wall_ms
        )
    )
    return task


def _kill(core: Core, held: Recovery, event: RecoveryDecided, now: Now, effects: Effects) -> str:
    by_node: dict[str, list[Key]] = {}
    for key in event.keys:
        if key not in held.strangers:
            raise NotFound(f"{_named(key)} is not among the strangers", field="tasks")
    for key in event.keys:
        held.drop(key)
        held.outcasts[key] = None
        effects.commit.outcasts.append(
            OutcastRow(key.task, key.number, key.node, event.principal, now.wall_ms)
        )
        by_node.setdefault(key.node, []).append(key)
    for node, keys in by_node.items():
        send_kill(core, node, keys, effects)
    return f"{_attempts(len(event.keys))} let go"


def send_kill(core: Core, name: str, keys: list[Key], effects: Effects) -> None:
    """Tell a node to stop outcasts; repeated until it shows that they are gone."""
    node = core.fleet.nodes.get(name)
    if node is None or not node.connected:
        return
    count = len(keys)
    effects.to_nodes.append(
        ToNode(
            name,
            Kill(
                node.incarnation,
                [ids.to_bytes(key.task) for key in keys],
                [key.number for key in keys],
                [-1] * count,
                [KILLED] * count,
            ),
        )
    )


# --- doubts --------------------------------------------------------------------------------


def _rerun(core: Core, held: Recovery, event: RecoveryDecided, now: Now, effects: Effects) -> str:
    for task in _doubtful(core, held, event):
        if task.live is not None:
            reason = f"{RERUN} {event.principal}"
            life.requeue(core, task, now, effects, "returned", reason)
        recovery.settle(core, task, effects)
    left = [task for task in event.tasks if task in core.tasks]
    over = len(event.tasks) - len(left)
    more = f"; {_tasks(over)} could not, and ended" if over else ""
    return f"{_tasks(len(left))} will run again{more}"


def _fail(core: Core, held: Recovery, event: RecoveryDecided, now: Now, effects: Effects) -> str:
    for task in _doubtful(core, held, event):
        recovery.settle(core, task, effects)
        node, fact = "", Fact.EXPIRE
        if task.live is not None:
            closed = life.close_attempt(
                core, task, "lost", now, effects, code=life.RESTORED, message=FAILED_TEXT
            )
            node, fact = closed.node, Fact.FAIL
        life.finish(
            core, task, fact, now, effects, code=life.RESTORED,
            details=life.error_document(life.RESTORED, FAILED_TEXT), node=node,
        )  # fmt: skip
    return f"{_tasks(len(event.tasks))} failed as {life.RESTORED}"


def _doubtful(core: Core, held: Recovery, event: RecoveryDecided) -> list[Task]:
    """Return the tasks that are meant; raises NotFound or Conflict."""
    found = []
    for task_id in event.tasks:
        task = core.tasks.get(task_id)
        if task is None or task_id not in held.doubts:
            raise NotFound(f"{ids.format_id(task_id)} is not in doubt", field="tasks")
        if others := held.of_task(task_id):
            raise Conflict(
                f"{_named(others[0].key)} lives: adopt or kill it before its task is decided on",
                field="tasks",
            )
        found.append(task)
    return found


# --- the end -------------------------------------------------------------------------------


def _release(
    core: Core, held: Recovery, event: RecoveryDecided, _now: Now, effects: Effects
) -> str:
    if held.strangers:
        raise Conflict(
            f"undecided: {_attempts(len(held.strangers))} that nodes hold; "
            "`remuda recovery adopt` or `remuda recovery kill` them"
        )
    if held.doubts:
        raise Conflict(
            f"in doubt: {_tasks(len(held.doubts))}; `remuda recovery rerun` or "
            "`remuda recovery fail` them"
        )
    away = recovery.missing(core, held)
    if away and not event.force:
        raise Conflict(
            f"{', '.join(away[:5])}{' and others' if len(away) > 5 else ''} did not come since: "
            "wait, or `remuda node lost` or `forget` what is off; --force has what they hold "
            "stopped when they come"
        )
    core.recovery = None
    core.resume(recovery.HOLD)
    effects.commit.released = True
    core.silence_due_ns = core.upkeep_due_ns = 0
    return "released: work is given out again"


def _named(key: Key) -> str:
    return f"{ids.format_id(key.task)} attempt {key.number} on {key.node}"


def _tasks(number: int) -> str:
    return "1 task" if number == 1 else f"{number:,} tasks"


def _attempts(number: int) -> str:
    return "1 attempt" if number == 1 else f"{number:,} attempts"


_VERBS = {"adopt": _adopt, "kill": _kill, "rerun": _rerun, "fail": _fail, "release": _release}
