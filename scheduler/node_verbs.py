"""What operators ask of nodes, GPUs, handlers, as events for the core; texts, times in bounds."""

from __future__ import annotations

from ..protocol import messages as m
from ..protocol.errors import Invalid
from .events import (
    CordonGpu,
    DrainNode,
    Event,
    NodeDeclaredLost,
    NodeForgotten,
    ReloadHandler,
    SwitchHandler,
    UncordonGpu,
    UndrainNode,
)

REASON_CHARS_MAX = 500
DEADLINE_MS_MAX = 366 * 24 * 3_600_000
NodeVerb = m.Drain | m.Undrain | m.DeclareLost | m.ForgetNode | m.CordonGpu | m.UncordonGpu
HandlerVerb = m.SwitchHandler | m.ReloadHandler


def node_event(message: NodeVerb, handle: int, principal: str) -> Event:
    """Turn a request into the core's event; raises Invalid."""
    if isinstance(message, (m.Drain, m.CordonGpu)):
        _check_reason(message.reason)
    if isinstance(message, m.CordonGpu):
        return CordonGpu(handle, principal, message.gpu, message.reason)
    if isinstance(message, m.UncordonGpu):
        return UncordonGpu(handle, principal, message.gpu)
    if isinstance(message, m.Drain):
        if not 0 <= message.deadline_ms <= DEADLINE_MS_MAX:
            raise Invalid("deadline: between 0 and a year from now", field="deadline_ms")
        return DrainNode(handle, principal, message.node, message.reason, message.deadline_ms)
    if isinstance(message, m.Undrain):
        return UndrainNode(handle, principal, message.node)
    if isinstance(message, m.DeclareLost):
        return NodeDeclaredLost(handle, principal, message.node)
    return NodeForgotten(handle, principal, message.node)


def handler_event(message: HandlerVerb, handle: int, principal: str) -> Event:
    """Turn a request about a handler into the core's event; raises Invalid."""
    if isinstance(message, m.ReloadHandler):
        return ReloadHandler(handle, principal, message.handler, message.node)
    _check_reason(message.reason)
    return SwitchHandler(
        handle, principal, message.handler, message.node, message.on, message.reason
    )


def _check_reason(text: str) -> None:
    if len(text) > REASON_CHARS_MAX or not text.isprintable():
        raise Invalid(f"reason: one line of at most {REASON_CHARS_MAX} characters", field="reason")
