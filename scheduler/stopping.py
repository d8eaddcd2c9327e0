"""How a task that a node holds is stopped: asked for a reason, repeated until it is proven gone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..protocol import ids
from ..protocol.messages import Kill
from . import life
from .events import Now
from .records import Effects, ToNode
from .task import Fact, State, StopReason, Task

if TYPE_CHECKING:
    from .core import Core


def stop(
    core: Core,
    tasks: Iterable[Task],
    reason: StopReason,
    now: Now,
    effects: Effects,
    *,
    grace_ms: int = -1,
) -> None:
    """Stop tasks that nodes hold; a cancel takes the place of any other reason."""
    by_node: dict[str, list[Task]] = {}
    for task in tasks:
        assert task.live is not None
        if task.state is not State.STOPPING:
            life.advance(core, task, Fact.STOP)
            task.stop = reason
            life.tell(task, effects, code=reason.word)
        elif reason is StopReason.CANCELLED:
            task.stop = reason
        else:
            continue
        task.grace_ms = grace_ms
        life.record_position(task, effects)
        by_node.setdefault(task.live.node, []).append(task)
    for held in by_node.values():
        send_kill(core, held, effects)


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
                reasons=[task.stop.word for task in tasks],
            ),
        )
    )
