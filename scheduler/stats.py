"""What is known of each kind of task: how often and how long it runs, and what VRAM it needs."""

from __future__ import annotations

from typing import Any

from ..protocol import messages as m
from ..protocol.resources import split_learning_key
from .access import Principal
from .events import Now
from .learned import Known, percentile
from .view import View

ROWS_MAX = 10_000


def list_stats(view: View, message: m.ListStats, _principal: Principal, _now: Now) -> m.Page:
    """List kinds of tasks that held GPUs, by name; percentiles are of their latest runs."""
    found = [
        (split_learning_key(key), known)
        for key, known in view.core.learned.items()
        if key.startswith(message.kind)
    ]
    found.sort(key=lambda pair: pair[0])
    rows = [row_of(kind, size_class, known) for (kind, size_class), known in found[:ROWS_MAX]]
    return m.Page(rows, len(found))


def row_of(kind: str, size_class: int, known: Known) -> dict[str, Any]:
    return {
        "kind": kind,
        "size_class": size_class,
        "runs": known.runs,
        "run_p50_ms": percentile(known.run_ms, 0.5),
        "run_p95_ms": percentile(known.run_ms, 0.95),
        "measured": len(known.peaks),
        "vram_p50_bytes": percentile(known.peaks, 0.5),
        "vram_p95_bytes": percentile(known.peaks, 0.95),
        "vram_max_bytes": max(known.peaks, default=0),
        "ooms": known.ooms,
        "auto_bytes": known.reserved_bytes,
    }
