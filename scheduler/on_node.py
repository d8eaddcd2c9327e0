"""What nodes say and what follows: joining, holding, accepting, ending, falling silent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..protocol import capabilities as wire_capabilities
from ..protocol import ids
from ..protocol.codec import common_version, pack_document
from ..protocol.errors import Conflict, ForeignProtocol
from ..protocol.measures import gpus_from_document, residents_from_documents
from ..protocol.messages import (
    Accept,
    Described,
    Desired,
    Failure,
    Heartbeat,
    Message,
    Phase,
    Progress,
    Register,
    Registered,
    Reject,
    Results,
    Started,
)
from . import (
    configured,
    cordons,
    dispatch,
    handler_orders,
    life,
    measured,
    on_recovery,
    recovery,
    silence,
    warm,
)
from .events import JoinNode, NodeRevoked, NodeSays, Now
from .fleet import Node, Welcome, first_revision
from .on_results import on_results
from .records import AuditRow, Effects, Note, ToNode
from .stopping import send_kill
from .task import Attempt, Fact, State, Task
from .tokens import same_token

if TYPE_CHECKING:
    from .core import Core

PROGRESS_TEXT_MAX = 200
FORMER_MAX = 8


def on_join(core: Core, event: JoinNode, now: Now, effects: Effects) -> None:
    """Take in a node with what it holds: adopt what it may keep.

    Its word on what it holds is complete: runners of the agent before were found or ended. What it
    lost is requeued by its first heartbeat: a REGISTER may be the late word of an agent that is
    dead by now, while the next one has let in what it holds; who beats has heard our answer.
    """
    register = event.message
    try:
        protocol = common_version(register.protocol_min, register.protocol_max)
    except ForeignProtocol as error:
        effects.replies.append((event.request, Failure(error.code, error.message)))
        return
    try:
        known = wire_capabilities.from_document(register.capabilities)
    except ValueError as error:
        effects.replies.append((event.request, Failure("invalid", str(error), "capabilities")))
        return
    if wait_ms := core.admission.wait_ms(now.mono_ns):
        effects.replies.append((event.request, _not_yet(core, event.node, wait_ms, now)))
        return
    node = core.fleet.nodes.setdefault(
        event.node,
        Node(event.node, known, rev=first_revision(core.epoch), parts=core.fleet.parts),
    )
    if register.incarnation in node.former and not _is_mute(core, node, now):
        text = "a later start of this agent has registered: this word of an earlier one is late"
        effects.replies.append((event.request, Failure(Conflict.code, text)))
        return
    node.take_capabilities(known)
    is_known = node.connected and register.incarnation == node.incarnation
    if register.incarnation != node.incarnation:  # else an older heartbeat may still be under way
        node.heartbeat_seq = 0
        former = (each for each in node.former if each != register.incarnation)
        node.former = (*former, node.incarnation)[-FORMER_MAX:]
    configured.on_joined(node, is_new=not is_known)
    node.boot_id = node.boot_id or register.boot_id
    node.incarnation, node.protocol = register.incarnation, protocol
    node.connected, node.suspect, node.lost, node.heard_ns = True, False, False, now.mono_ns
    silence.on_joined(core, now)
    _see(core, node, now, effects)
    node.shunned.clear()
    core.fleet.changed_shape()
    kept, foreign = _adopt(core, node, register, now, effects)
    offered = node.held.keys() - kept if is_known else set()  # it may still be under way
    node.seats.forget_promises(offered)
    said = register.capabilities.get("residents", [])
    residents = residents_from_documents(said if type(said) is list else [])
    node.take_residents(residents, -1, now.mono_ns)
    rows = zip(register.tasks, register.attempts, register.tokens, register.phases, strict=True)
    recovery.see(core, node, rows, now, effects, is_joining=True)
    for task in () if is_known else foreign:
        if not recovery.is_doubtful(core, task):
            _miss(core, node, task, now, effects)
    node.rev += 1
    at_ns = node.welcome.at_ns if is_known else now.mono_ns
    node.welcome = Welcome(at_ns, node.rev, register.boot_id)
    for task in node.held.values():  # a heartbeat from before this answer says nothing of them
        assert task.live is not None
        task.live.rev = node.rev
        warm.renew(node, task, task.live)
    node.seen_ms = now.wall_ms
    core.write_node(node, effects)
    effects.commit.audit.append(AuditRow(now.wall_ms, node.name, "register", node.name))
    effects.rebind.append(node.name)
    effects.replies.append((event.request, _registered(core, node, now)))
    stopping = [task for task in node.held.values() if task.state is State.STOPPING]
    if stopping:
        send_kill(core, stopping, effects)


def _see(core: Core, node: Node, now: Now, effects: Effects) -> None:
    """Take in what a node says of the health of its cards, and of its handlers."""
    cordons.see(core, node, now, effects)
    handler_orders.see(core, node, effects)


def _is_mute(core: Core, node: Node, now: Now) -> bool:
    """Tell whether the agent that counts was dead when its REGISTER came: it does not beat.

    Then the one that lives may have registered before. Late heartbeats can follow a late REGISTER.
    """
    settings = core.settings
    quiet_ns = settings.lost_after_ns if node.heartbeat_seq else settings.suspect_after_ns
    return now.mono_ns - max(node.welcome.at_ns, node.beat_ns) >= quiet_ns


def _miss(core: Core, node: Node, task: Task, now: Now, effects: Effects) -> None:
    """Move a task that its node does not hold."""
    if node.boot_id != node.welcome.boot_id:
        life.lose(core, task, now, effects, f"{node.name} was restarted", is_sure=True)
    else:
        life.requeue(core, task, now, effects, "returned", "the node does not hold it")


def _note_restart(core: Core, node: Node, effects: Effects) -> None:
    """Remember the new boot of a host, once what it lost with the last one is settled."""
    node.boot_id = node.welcome.boot_id
    core.write_node(node, effects)
    effects.notes.append(Note("warning", "node was restarted", {"node": node.name}))


def _not_yet(core: Core, name: str, wait_ms: int, now: Now) -> Failure:
    """Ask a node to come again in its turn; it lives, so it is not judged silent meanwhile."""
    known = core.fleet.nodes.get(name)
    if known is not None and not known.lost:
        known.heard_ns = now.mono_ns
    return Failure(
        "busy", "many nodes register at once: this one in its turn", retry_after_ms=wait_ms
    )


def _adopt(
    core: Core, node: Node, register: Register, now: Now, effects: Effects
) -> tuple[set[int], list[Task]]:
    """Take up what a node holds; return that, and what it has under tokens that are not ours."""
    kept: set[int] = set()
    foreign: list[Task] = []
    rows = zip(register.tasks, register.attempts, register.tokens, register.phases, strict=True)
    for blob, number, token, phase in rows:
        found = _find(core, node, blob, number)
        if found is None:
            continue
        task, attempt = found
        if not same_token(attempt.token, token):
            foreign.append(task)
            continue
        attempt.accepted = True
        kept.add(task.id)
        if phase == Phase.RUNNING:
            _runs(core, task, now, effects)
    if kept:
        effects.notes.append(Note("info", "attempts adopted", {"node": node.name, "n": len(kept)}))
    return kept, foreign


def _registered(core: Core, node: Node, now: Now) -> Registered:
    more_tasks, more_attempts = recovery.living(core, node)
    return Registered(
        name=node.name,
        rev=node.rev,
        dispatch_port=0,
        uplink_port=0,
        heartbeat_port=0,
        beacon_port=0,
        heartbeat_ms=core.settings.heartbeat_ms,
        lease_ms=core.settings.lease_ms,
        tasks=[*map(ids.to_bytes, node.held), *more_tasks],
        attempts=[*(task.attempt for task in node.held.values()), *more_attempts],
        fence_ms=core.settings.fence_ms,
        wall_ms=now.wall_ms,
        handlers=handler_orders.welcome(core, node),
        is_held=core.recovery is not None,
    )


def _find(core: Core, node: Node, blob: bytes, number: int) -> tuple[Task, Attempt] | None:
    """Return the task and its live attempt if exactly that one lives on that node."""
    task = core.tasks.get(int.from_bytes(blob, "big"))
    if task is None or task.live is None:
        return None
    if task.live.number != number or task.live.node != node.name:
        return None
    return task, task.live


def on_node_says(core: Core, event: NodeSays, now: Now, effects: Effects) -> None:
    """Hand a message to its handler; anything counts as a sign of life."""
    node = core.fleet.nodes.get(event.node)
    if node is None or not node.connected:
        return
    silence.on_heard(core, node, now, effects)
    handler = _HANDLERS.get(type(event.message))
    if handler is not None:
        handler(core, node, event.message, now, effects)


def on_accept(core: Core, node: Node, message: Accept, now: Now, effects: Effects) -> None:
    for blob, number in zip(message.tasks, message.attempts, strict=True):
        if found := _find(core, node, blob, number):
            found[1].accepted = True


def on_started(core: Core, node: Node, message: Started, now: Now, effects: Effects) -> None:
    for blob, number in zip(message.tasks, message.attempts, strict=True):
        found = _find(core, node, blob, number)
        if found:
            found[1].accepted = True
            _runs(core, found[0], now, effects)


def _runs(core: Core, task: Task, now: Now, effects: Effects) -> None:
    """Take in that a task runs, from whichever message tells it first."""
    if task.live is not None and not task.live.started_ns:
        task.live.started_ns = now.mono_ns
    if task.state is State.ASSIGNED:
        life.advance(core, task, Fact.START)
        life.tell(task, effects)


def on_reject(core: Core, node: Node, message: Reject, now: Now, effects: Effects) -> None:
    """Requeue what the node's own guard refused, and leave the node alone with such requests."""
    rows = zip(message.tasks, message.attempts, message.tokens, message.reasons, strict=True)
    for blob, number, token, reason in rows:
        found = _find(core, node, blob, number)
        if found is None or not same_token(found[1].token, token):
            continue
        node.shunned[found[1].request] = now.mono_ns + core.settings.shun_ns
        life.requeue(core, found[0], now, effects, "rejected", reason[:500])


def on_progress(core: Core, node: Node, message: Progress, now: Now, effects: Effects) -> None:
    rows = zip(message.tasks, message.attempts, message.milli, message.texts, strict=True)
    for blob, number, milli, text in rows:
        found = _find(core, node, blob, number)
        if found is None:
            continue
        task, attempt = found
        attempt.progress_milli = min(max(milli, 0), 1_000)
        attempt.progress_text = text[:PROGRESS_TEXT_MAX]
        shown = {"progress": attempt.progress_milli, "text": attempt.progress_text}
        life.tell(task, effects, details=pack_document(shown))


def on_heartbeat(core: Core, node: Node, message: Heartbeat, now: Now, effects: Effects) -> None:
    """Compare what the node holds with what it should hold, and say what may live."""
    if message.incarnation != node.incarnation or message.seq <= node.heartbeat_seq:
        return
    node.heartbeat_seq, node.beat_ns = message.seq, now.mono_ns
    node.probe_age_ms, node.loop_lag_ms = message.probe_age_ms, message.loop_lag_ms
    node.gpu_free_bytes = {
        uuid: free for uuid, free in message.gpu_free.items() if type(free) is int
    }
    if message.capabilities:
        _take_capabilities(core, node, message, now, effects)
    if node.take_residents(residents_from_documents(message.residents), message.rev, now.mono_ns):
        core.fleet.changed(node)
        core.warmth.learn(node)
    rows = zip(message.tasks, message.attempts, message.phases, strict=True)
    holding = {(blob, number): phase for blob, number, phase in rows}
    if measured.see(node, gpus_from_document(message.gpus), holding):
        core.fleet.changed(node)
    _see_vram(core, node, message)
    stopping, unseen = [], []
    for task in list(node.held.values()):
        attempt = task.live
        assert attempt is not None
        phase = holding.get((ids.to_bytes(task.id), attempt.number))
        if phase is not None:
            attempt.accepted = True
            if phase == Phase.RUNNING:  # its STARTED may have been lost
                _runs(core, task, now, effects)
            if task.state is State.STOPPING:
                stopping.append(task)
        elif recovery.is_doubtful(core, task):
            continue
        elif attempt.rev <= message.rev:
            _miss(core, node, task, now, effects)
        elif now.mono_ns - attempt.offered_ns >= core.settings.offer_resend_ns:
            unseen.append(task)
    if node.boot_id != node.welcome.boot_id and message.rev >= node.welcome.rev:
        _note_restart(core, node, effects)
    if core.recovery is not None:
        _see_strangers(core, node, message, now, effects)
    if unseen and core.recovery is None:
        dispatch.resend(core, node, unseen, now, effects)
    _say_desired(core, node, message.seq, effects)
    cordons.remind(core, node, effects)
    configured.see(core, node, message, effects)
    handler_orders.remind(core, node, message.handler_orders, effects)
    if stopping:
        send_kill(core, stopping, effects)


def _see_strangers(core: Core, node: Node, message: Heartbeat, now: Now, effects: Effects) -> None:
    """Look for what a restored journal does not know, and have stopped what was let go."""
    tokens = [b""] * len(message.tasks)
    rows = zip(message.tasks, message.attempts, tokens, message.phases, strict=True)
    recovery.see(core, node, rows, now, effects)
    held = zip(message.tasks, message.attempts, strict=True)
    if outcasts := recovery.outcasts_held(core, node, held):
        on_recovery.send_kill(core, node.name, outcasts, effects)


def _see_vram(core: Core, node: Node, message: Heartbeat) -> None:
    """Keep what was measured of the tasks that hold cards; a column of another length is none."""
    if len(message.vram_used) != len(message.tasks):
        return
    for blob, number, used in zip(message.tasks, message.attempts, message.vram_used, strict=True):
        if used >= 0 and (found := _find(core, node, blob, number)) is not None:
            found[1].see_vram(used)


def _say_desired(core: Core, node: Node, seq: int, effects: Effects) -> None:
    node.rev += 1
    more_tasks, more_attempts = recovery.living(core, node)
    effects.to_nodes.append(
        ToNode(
            node.name,
            Desired(
                incarnation=node.incarnation,
                rev=node.rev,
                lease_ms=core.settings.lease_ms,
                tasks=[*map(ids.to_bytes, node.held), *more_tasks],
                attempts=[*(task.attempt for task in node.held.values()), *more_attempts],
                answers=seq,
            ),
        )
    )


def _take_capabilities(
    core: Core, node: Node, message: Heartbeat, now: Now, effects: Effects
) -> None:
    try:
        known = wire_capabilities.from_document(message.capabilities)
    except ValueError as error:
        effects.notes.append(
            Note("warning", "capabilities refused", {"node": node.name, "why": str(error)})
        )
        return
    if known != node.capabilities:
        node.take_capabilities(known)
        _see(core, node, now, effects)
        core.fleet.changed_shape()
        core.write_node(node, effects)


def on_revoked(core: Core, event: NodeRevoked, now: Now, effects: Effects) -> None:
    """Stop believing a node whose key was withdrawn, and move its work."""
    node = core.fleet.nodes.get(event.node)
    if node is not None:
        node.connected = False
        silence.lose(core, node, now, effects, "its key was revoked")


_HANDLERS: dict[type[Message], Callable[[Core, Node, Any, Now, Effects], None]] = {
    Accept: on_accept,
    Started: on_started,
    Reject: on_reject,
    Progress: on_progress,
    Heartbeat: on_heartbeat,
    Results: on_results,
    Described: recovery.on_described,
}
