"""How is a failure told: what went wrong, and the lives of the tasks concerned."""

from __future__ import annotations

from remuda.protocol.ids import format_id, from_bytes

from .agenda import SECOND
from .plan import Plan
from .world import Outcome

ID_CHARS_SHOWN = 6
LINES_MAX = 200


def tell(plan: Plan, outcome: Outcome) -> str:
    """Write a story; the outcome must have kept its trace."""
    names = {word for text in outcome.violations for word in text.split()}
    lines = []
    for now_ns, text, tasks in outcome.trace.lines:
        ids = [format_id(from_bytes(task)) for task in tasks]
        concerns = not ids and not text.endswith(" lost")
        if concerns or any(name in names for name in ids):
            who = " ".join(name[-ID_CHARS_SHOWN:] for name in ids)
            lines.append(f"{now_ns / SECOND:10.4f} s  {who:6}  {text}")
    if len(lines) > LINES_MAX:
        lines = [*lines[: LINES_MAX // 2], "...", *lines[-LINES_MAX // 2 :]]
    return "\n".join(
        [
            f"seed {plan.seed}",
            *(f"  BROKEN  {text}" for text in outcome.violations),
            "what was asked, and what went wrong:",
            *(f"  {line}" for line in str(plan).splitlines()),
            "what happened:",
            *(f"  {line}" for line in lines),
        ]
    )
