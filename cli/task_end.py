"""Why did a task fail: its last try, the budget that this used up, what it said, what to do now?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..protocol.failures import BUDGET_WORDS, CLASSES, FINAL, class_of
from .writing import counted, one_line

Document = Mapping[str, Any]
MESSAGE_CHARS_MAX = 400
OWN = "own"


def failure_reason(body: Document) -> str:
    """Say which try failed of what, and where."""
    code, tries = str(body.get("code") or "failed"), list(body.get("attempts") or [])
    last = tries[-1] if tries else {}
    detail = body.get("detail") or {}
    message = str(detail.get("message") or last.get("message") or "")
    said = f"{code}: {message}" if message else code
    if not tries:
        return one_line(f"it failed before it was given to a node: {said}", MESSAGE_CHARS_MAX)
    which = "its only try" if len(tries) == 1 else f"the last of {len(tries)} tries"
    where = f" on {last['node']}" if last.get("node") else ""
    return one_line(f"{which} failed{where}: {said}", MESSAGE_CHARS_MAX)


def why_no_more(body: Document) -> str:
    """Say why no other try followed: which budget was used up, or what ruled one out."""
    code = str(body.get("code") or "")
    if code in FINAL:
        return f"none after {code}: it would end the same way, or its time is over"
    row = _budget_of(code, body.get("budgets") or [])
    retries, failures = int(row.get("retries", 0)), int(row.get("failures", 0))
    name = str(row.get("budget", OWN))
    what = "its own errors" if name == OWN else BUDGET_WORDS[CLASSES[name]]
    if not retries and name == OWN:
        return f"none were asked for after {what} (--retries N)"
    if failures > retries:
        used = "the only one" if retries == 1 else f"all {retries}"
        return f"{used} after {what} used up ({counted(failures, 'failure')})"
    rest = "its options, or the nodes that there are, allow no other try"
    return f"{failures} of {retries} after {what} used: {rest}"


def next_steps(body: Document) -> str:
    """Name the commands that help from here."""
    number = body.get("number")
    more = f"`remuda task logs {number}` has its output, `remuda task show {number}` all of it"
    return f"{more}; `remuda task retry {number}` submits a copy"


def _budget_of(code: str, budgets: Sequence[Document]) -> Document:
    """Find the budget to which a code is charged: that of its class, else the task's own."""
    found = {str(row["budget"]): row for row in budgets}
    return found.get(class_of(code).value) or found.get(OWN) or {}
