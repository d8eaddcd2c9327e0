"""What is told of one task: all that is known of it, and why it is where it is."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ..protocol import asks, ids, spec
from ..protocol import messages as m
from ..protocol.codec import unpack_document
from ..protocol.errors import MalformedFrame, NotFound
from ..protocol.failures import FailureClass, class_of
from ..protocol.resources import describe_request
from .access import Principal
from .events import Now
from .explain import explain
from .listing import task_row
from .retry import budget, is_own
from .task import State, Task, policy_of
from .view import View
from .watch import WORDS

_PRIVATE_SPEC = ("env", "stdin", "source", "requirements")


def show_task(view: View, message: m.ShowTask, principal: Principal, _now: Now) -> m.Document:
    task_id, _ = view.task(message.task, principal)
    known = view.history.show_task(task_id)
    if known is None:
        raise NotFound(f"task {ids.format_id(task_id)} was pruned", field="task")
    document = unpack_document(known["body"])
    result = known["result"]
    body = task_row(view, known, document)
    body["attempts"] = _attempts(view, task_id, known["attempts"], spec.from_document(document))
    body["once"] = known["once"]
    body["budgets"] = _budgets(view, task_id, known["attempts"], spec.from_document(document))
    body["raised"], body["sized"] = known["raised"], known["sized"]
    if principal.sees_payloads:
        body["value"] = result.get("value", b"")
        body["detail"] = _details(result.get("details", b""))
        body["args"] = known["args"]
    else:
        document = {key: each for key, each in document.items() if key not in _PRIVATE_SPEC}
    body["spec"] = document
    return m.Document(body)


def _attempts(
    view: View, task_id: int, attempts: list[dict[str, Any]], asked: spec.TaskSpec
) -> list[dict[str, Any]]:
    """Say of each attempt also what it was granted, as text and as VRAM, and what it was seen to
    use of that, now and at most: -1 where it was not measured."""
    live = view.core.tasks.get(task_id)
    found = []
    for each in attempts:
        granted = asks.granted(asked.request, each["asked"])
        used, peak = -1, each["vram_peak_bytes"]
        if live is not None and live.live is not None and live.live.number == each["number"]:
            granted, used = live.live.request, live.live.vram_used_bytes
            peak = live.live.vram_peak_bytes
        told = {"asked": describe_request(granted), "vram_bytes": granted.vram_bytes}
        found.append({**each, **told, "vram_used_bytes": used, "vram_peak_bytes": peak})
    return found


def _budgets(
    view: View, task_id: int, attempts: list[dict[str, Any]], asked: spec.TaskSpec
) -> list[dict[str, Any]]:
    """Say how many failures were charged to which budget, and how many retries it has.

    `own` is the budget that the task asked for. The attempts speak for a task that has ended.
    """
    policies, live = view.core.settings.policies, view.core.tasks.get(task_id)
    charged: Counter[str] = Counter(own=0)
    if live is not None:
        charged["own"] = live.charged
        charged.update({kind.value: count for kind, count in (live.spent or {}).items()})
    else:
        kinds = [class_of(each["code"]) for each in attempts if each["code"]]
        charged.update("own" if is_own(policies, kind) else kind.value for kind in kinds)
    retries = {kind.value: budget(policies, policy_of(asked), kind) for kind in FailureClass}
    retries["own"] = asked.retries
    return [
        {"budget": name, "failures": count, "retries": retries[name]}
        for name, count in charged.items()
        if count or retries[name]
    ]


def _details(blob: bytes) -> dict[str, Any]:
    """Read what a node wrote about an end; it passed no check when it was stored."""
    try:
        return unpack_document(blob) if blob else {}
    except MalformedFrame as error:
        return {"message": f"the node's details cannot be read: {error}"}


def show_explain(view: View, message: m.Explain, principal: Principal, now: Now) -> m.Document:
    task_id, found = view.task(message.task, principal)
    body: dict[str, Any] = {"id": ids.to_bytes(task_id), "number": found.number}
    if isinstance(found, Task):
        is_waiting = found.state is State.WAITING
        failed_of = view.history.last_code(task_id) if is_waiting else ""
        body |= explain(view.core, task_id, now, failed_of)
        if body.get("raised"):
            stored = view.history.spec_bodies([found.spec.spec_id])[found.spec.spec_id]
            asked = spec.from_document(unpack_document(stored)).request
            body["submitted"] = describe_request(asked)
        return m.Document(body)
    where = f" on {found.node}" if found.node else ""
    tried = f"{where}, try {found.attempt}" if found.attempt else " before it was given to a node"
    reason = f"it ended{tried}" + (f": {found.code}" if found.code else "")
    return m.Document(
        body
        | {"state": WORDS[found.state], "reason": reason, "node": found.node, "waits_for": ""}
        | {"attempt": found.attempt, "nodes": [], "position": -1}
    )
