"""What an operator does to nodes: drained, taken back, declared lost, forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..protocol.errors import Conflict, NotFound, RemudaError
from ..protocol.messages import Done, Failure
from . import black_holes, cordons, handler_orders, silence
from .events import DrainNode, NodeDeclaredLost, NodeForgotten, Now, UndrainNode
from .fleet import Drain, Node
from .records import AuditRow, Effects, Note
from .spans import span
from .stopping import stop
from .task import State, StopReason

if TYPE_CHECKING:
    from .core import Core


def on_drain(core: Core, event: DrainNode, now: Now, effects: Effects) -> None:
    """Give a node no new work; a second drain changes what it says of reason and deadline."""
    node = _node(core, event.node, event.request, effects)
    if node is None:
        return
    known = node.drain or Drain("", now.wall_ms, 0)
    core.black_holes.forgive(node.name)
    if known.reason.startswith(black_holes.REASON):  # from now on it is this person's
        known = Drain("", known.since_ms, 0)
    due_ms = now.wall_ms + event.deadline_ms if event.deadline_ms else known.due_ms
    node.drain = Drain(event.reason or known.reason, known.since_ms, due_ms)
    core.fleet.changed(node)
    core.write_node(node, effects)
    core.upkeep_soon(now)
    _note(effects, now, event.principal, "node drain", node, node.drain.reason)
    left, more_s = len(node.held), max(due_ms - now.wall_ms, 0) / 1000
    at_most = f", for at most {span(more_s)} more" if due_ms and left else ""
    said = f"{node.name} gets no new work; {_tasks(left)} left there{at_most}"
    effects.replies.append((event.request, Done(said)))


def on_undrain(core: Core, event: UndrainNode, now: Now, effects: Effects) -> None:
    node = _node(core, event.node, event.request, effects)
    if node is None:
        return
    if node.drain is None:
        effects.replies.append((event.request, Done(f"{node.name} was not drained")))
        return
    node.drain = None
    core.black_holes.forgive(node.name)
    core.fleet.changed(node)
    core.write_node(node, effects)
    _note(effects, now, event.principal, "node undrain", node)
    effects.replies.append((event.request, Done(f"{node.name} gets work again")))


def on_declared_lost(core: Core, event: NodeDeclaredLost, now: Now, effects: Effects) -> None:
    """Move the tasks of a node that a person saw to be off, fenced and cancelled ones as well."""
    node = _node(core, event.node, event.request, effects)
    if node is None or _is_heard(core, node, event.request, now, effects, "lost"):
        return
    moved = silence.lose(
        core, node, now, effects, f"{event.principal} saw that it is off", is_sure=True
    )
    _note(effects, now, event.principal, "node lost", node)
    effects.replies.append((event.request, Done(f"{node.name} is lost; {_tasks(moved)} moved")))


def on_forgotten(core: Core, event: NodeForgotten, now: Now, effects: Effects) -> None:
    node = _node(core, event.node, event.request, effects)
    if node is None or _is_heard(core, node, event.request, now, effects, "forgotten"):
        return
    moved = forget(core, node, now, effects, f"{event.principal} had it forgotten")
    _note(effects, now, event.principal, "node forget", node)
    effects.replies.append(
        (event.request, Done(f"{node.name} is forgotten; {_tasks(moved)} moved"))
    )


def forget(core: Core, node: Node, now: Now, effects: Effects, reason: str) -> int:
    """Strike a node from the list with all that it held; return how many tasks moved."""
    moved = silence.lose(core, node, now, effects, reason, is_sure=True)
    assert not node.held
    del core.fleet.nodes[node.name]
    cordons.forget(core, node, effects)
    handler_orders.forget(core, node, effects)
    core.black_holes.forgive(node.name)
    core.fleet.changed_shape()
    effects.commit.nodes.pop(node.name, None)
    effects.commit.forgotten.append(node.name)
    effects.unbind.append(node.name)
    return moved


def judge(core: Core, now: Now, effects: Effects) -> None:
    """Move what drained nodes still hold at their deadline; forget nodes lost for long."""
    if now.mono_ns < core.upkeep_due_ns:
        return
    core.upkeep_due_ns = silence.FAR_NS
    for node in list(core.fleet.nodes.values()):
        if node.drain and node.drain.due_ms and now.wall_ms >= node.drain.due_ms:
            _move_on(core, node, now, effects)
        if node.lost and now.wall_ms - node.seen_ms >= core.settings.forget_after_ms:
            forget(core, node, now, effects, "it was lost for long")
            _note(effects, now, "scheduler", "node forget", node, "lost for long")
        elif node.lost or (node.drain and node.drain.due_ms and node.held):
            core.upkeep_soon(now)


def _move_on(core: Core, node: Node, now: Now, effects: Effects) -> None:
    left = [task for task in node.held.values() if task.state is not State.STOPPING]
    if left and not node.lost:
        stop(core, left, StopReason.DRAIN, now, effects)
        facts: dict[str, object] = {"node": node.name, "tasks": len(left)}
        effects.notes.append(Note("info", "drain deadline: tasks move on", facts))


def _tasks(number: int) -> str:
    return "1 task" if number == 1 else f"{number} tasks"


def _node(core: Core, name: str, request: int, effects: Effects) -> Node | None:
    node = core.fleet.nodes.get(name)
    if node is None:
        _refuse(effects, request, NotFound(f"there is no node {name}", field="node"))
    return node


def _is_heard(core: Core, node: Node, request: int, now: Now, effects: Effects, what: str) -> bool:
    """Refuse what would run tasks twice: the node is there."""
    silent_ns = now.mono_ns - node.heard_ns
    if not node.connected or node.lost or silent_ns >= core.settings.suspect_after_ns:
        return False
    _refuse(
        effects,
        request,
        Conflict(
            f"{node.name} was heard {silent_ns / 1e9:.1f} s ago, so it is not to be {what}: "
            "stop its agent first, or `remuda node drain` it",
            field="node",
        ),
    )
    return True


def _refuse(effects: Effects, request: int, error: RemudaError) -> None:
    effects.replies.append((request, Failure(error.code, error.message, error.field)))


def _note(effects: Effects, now: Now, principal: str, verb: str, node: Node, why: str = "") -> None:
    subject = f"{node.name}: {why}" if why else node.name
    effects.commit.audit.append(AuditRow(now.wall_ms, principal, verb, subject))
    facts: dict[str, object] = {"node": node.name, "by": principal}
    effects.notes.append(Note("info", verb, facts | ({"why": why} if why else {})))
