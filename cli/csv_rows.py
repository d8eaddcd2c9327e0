"""How are tasks and their tries written as rows of CSV that a spreadsheet reads as they are?"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from typing import Any, TextIO

TASK_COLUMNS = (
    "id", "number", "batch", "name", "kind", "command", "state", "code", "message", "owner", "node",
    "priority", "tags", "asked", "retry_of", "created_at", "started_at", "ended_at", "attempts",
    "run_s",
)  # fmt: skip
ATTEMPT_COLUMNS = (
    "id", "number", "batch", "name", "kind", "command", "state", "code", "owner", "priority",
    "tags", "created_at", "ended_at", "attempt", "attempt_node", "attempt_gpus", "attempt_asked",
    "attempt_outcome", "attempt_code", "attempt_message", "attempt_granted_at", "attempt_ended_at",
    "attempt_run_s", "attempt_vram_bytes", "attempt_vram_peak_bytes", "attempt_batch_calls",
)  # fmt: skip
_FORMULA = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


class CsvWriter:
    """Writes a row for each task, or with `by_attempt` one for each try of it."""

    def __init__(self, target: TextIO, *, by_attempt: bool) -> None:
        self._by_attempt = by_attempt
        self._columns = ATTEMPT_COLUMNS if by_attempt else TASK_COLUMNS
        self._writer = csv.writer(target, lineterminator="\n")
        self._writer.writerow(self._columns)

    def write(self, task: Mapping[str, Any]) -> None:
        """Write a document of an export."""
        rows = _tries(task) if self._by_attempt else [_summed_up(task)]
        for row in rows:
            self._writer.writerow([cell(row.get(name)) for name in self._columns])


def cell(value: Any) -> Any:
    """Return what stands in a cell; a text that a spreadsheet would run begins with a quote."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    return f"'{value}" if value.lstrip(" ")[:1] in _FORMULA and value.strip(" ") else value


def _summed_up(task: Mapping[str, Any]) -> dict[str, Any]:
    attempts = task["attempts"]
    told = [each["run_s"] for each in attempts if each["run_s"] is not None]
    return {
        **_plain(task),
        "message": next((each["message"] for each in attempts[::-1] if each["message"]), None),
        "attempts": len(attempts),
        "run_s": round(sum(told), 6) if told else None,
    }


def _tries(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each try; a task without one has a row without a try."""
    shared = _plain(task)
    return [
        shared
        | {f"attempt_{name}": value for name, value in each.items()}
        | {"attempt": each["number"], "attempt_gpus": " ".join(each["gpus"])}
        for each in task["attempts"]
    ] or [shared]


def _plain(task: Mapping[str, Any]) -> dict[str, Any]:
    tags = json.dumps(task["tags"], ensure_ascii=False, sort_keys=True) if task["tags"] else None
    return {**task, "tags": tags}
