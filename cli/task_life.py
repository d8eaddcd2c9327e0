"""How is it written what a task wants of its life: limits, retries, and what they have cost?"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ..protocol.failures import BUDGET_WORDS, CLASSES
from ..protocol.spec import TaskSpec
from .writing import ahead, counted, rfc3339, span

Document = Mapping[str, Any]
LOSSES = {
    "fence": "fence: runs elsewhere once its node has surely stopped it",
    "fail": "fail: does not run elsewhere",
}


def life_facts(spec: TaskSpec, body: Document) -> list[tuple[str, str]]:
    """List what was asked for; what is as usual is left out."""
    limits = {
        "start": spec.start_timeout_ms,
        "run": spec.timeout_ms,
        "silence": spec.silence_ms,
    }
    per_try = ", ".join(f"{name} {span(ms / 1000)}" for name, ms in limits.items() if ms)
    return [
        ("limits of a try", per_try),
        ("deadline", _deadline(spec, body)),
        ("expires", f"{span(spec.expires_ms / 1000)} in the queue" if spec.expires_ms else ""),
        ("retries", "; ".join(_budget(each) for each in body.get("budgets") or [])),
        ("retries only on", ", ".join(spec.retry_on)),
        ("never retried on", ", ".join(spec.never_on)),
        ("node lost", LOSSES.get(spec.if_node_lost, "")),
    ]


def _deadline(spec: TaskSpec, body: Document) -> str:
    if not spec.deadline_ms:
        return ""
    if body.get("ended_ms"):
        return str(rfc3339(spec.deadline_ms))
    return ahead(spec.deadline_ms, time.time() * 1000)


def _budget(row: Document) -> str:
    """Write `3 after its own errors (1 failure so far)`."""
    name, failures = str(row["budget"]), int(row["failures"])
    what = "its own errors" if name == "own" else BUDGET_WORDS[CLASSES[name]]
    so_far = f" ({counted(failures, 'failure')} so far)" if failures else ""
    return f"{row['retries']} after {what}{so_far}"
