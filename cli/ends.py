"""How is the end of one task written for programs?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .interrupts import INTERRUPTED

if TYPE_CHECKING:
    from ..client.outcome import Standing
    from ..client.task import Task

STREAMS = {"out": "stdout", "err": "stderr"}


def ended(task: Task, standing: Standing, **more: Any) -> dict[str, Any]:
    """Describe how a task ended and what was kept of its output, as one object."""
    from ..client.outcome import exit_code, kept_output, output_cut

    detail = standing.detail
    stopped = standing.state == "cancelled"
    return {
        "id": task.id,
        "number": task.number or None,
        "state": standing.state,
        "code": standing.code or None,
        "message": detail.get("message") or None,
        "node": standing.node or None,
        "attempt": standing.attempt,
        "exit_code": INTERRUPTED if stopped else exit_code(standing),
        **{word: kept_output(detail, stream) for stream, word in STREAMS.items()},
        **{f"{word}_cut_bytes": output_cut(detail, stream) for stream, word in STREAMS.items()},
        **more,
    }
