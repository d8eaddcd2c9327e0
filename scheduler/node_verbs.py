"""What operators ask of nodes, as events for the core; texts and times within their bounds."""

from __future__ import annotations

from ..protocol import messages as m
from ..protocol.errors import Invalid
from .events import DrainNode, Event, NodeDeclaredLost, NodeForgotten, UndrainNode

REASON_CHARS_MAX = 500
DEADLINE_MS_MAX = 366 * 24 * 3_600_000


def node_event(
    message: m.Drain | m.Undrain | m.DeclareLost | m.ForgetNode, handle: int, principal: str
) -> Event:
    """Turn a request into the core's event; raises Invalid."""
    if isinstance(message, m.Drain):
        if len(message.reason) > REASON_CHARS_MAX or not message.reason.isprintable():
            raise Invalid(
                f"reason: one line of at most {REASON_CHARS_MAX} characters", field="reason"
            )
        if not 0 <= message.deadline_ms <= DEADLINE_MS_MAX:
            raise Invalid("deadline: between 0 and a year from now", field="deadline_ms")
        return DrainNode(handle, principal, message.node, message.reason, message.deadline_ms)
    if isinstance(message, m.Undrain):
        return UndrainNode(handle, principal, message.node)
    if isinstance(message, m.DeclareLost):
        return NodeDeclaredLost(handle, principal, message.node)
    return NodeForgotten(handle, principal, message.node)
