"""What does the metrics process know of the scheduler, and how is that written for Prometheus?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from .metrics_table import BY_NAME, OF_FLEET, PREFIX, Family, Rows

FRESH_NS = 10_000_000_000
"""News comes every second: after so long without any the loop stands still."""
NEVER = "the scheduler is starting: nothing was heard of it yet"
_NS = 1e9


class Page(Collector):
    """Keeps what was told last; nodes and GPUs that are told of no more are on it no more.

    What was told is replaced, never changed, so that readers need not keep the teller out.
    """

    def __init__(self, scheduler_pid: int = 0) -> None:
        self._told: dict[str, Rows] = {}
        self._fleet: dict[str, Rows] = {}
        self._coming: dict[str, Rows] = {}
        self._at_ns = self._now_ns = 0
        self._stuck = self._refusing = ""
        self._registry = CollectorRegistry()
        self._registry.register(self)
        if scheduler_pid:
            pid = scheduler_pid
            ProcessCollector(PREFIX + "scheduler", lambda: pid, registry=self._registry)

    def hear(self, frame: list[Any]) -> None:
        """Take in a frame of `metrics.py`: a `snapshot`, or a part of the `fleet`."""
        kind, *fields = frame
        if kind == "snapshot":
            self._at_ns, self._stuck, self._refusing, self._told = fields
        elif kind == "fleet":
            is_first, is_last, rows = fields
            if is_first:
                self._coming = {}
            for name, found in rows.items():
                self._coming.setdefault(name, []).extend(found)
            if is_last:
                self._fleet, self._coming = self._coming, {}

    def why_not_live(self, now_ns: int) -> str:
        """Say why the scheduler should be started again; empty while its loop turns."""
        if not self._at_ns:
            return NEVER
        silent_ns = now_ns - self._at_ns
        if silent_ns > FRESH_NS:
            return f"its loop has not turned for {silent_ns / _NS:.0f} s"
        return self._stuck

    def why_not_ready(self, now_ns: int) -> str:
        """Say why it does not take tasks, or does not start them; empty while it does both."""
        return self.why_not_live(now_ns) or self._refusing

    def text(self, now_ns: int) -> bytes:
        """Write all metrics."""
        self._now_ns = now_ns
        return generate_latest(self._registry)

    def describe(self) -> list[Metric]:
        """Name no metric before there are any: the registry would ask for all of them."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield a family for each metric of which something is known."""
        now_ns = self._now_ns
        told: dict[str, Rows] = {
            "live": [[[], float(not self.why_not_live(now_ns))]],
            "ready": [[[], float(not self.why_not_ready(now_ns))]],
            **self._told,
            **{family.name: self._fleet.get(family.name, []) for family in OF_FLEET},
        }
        told["nodes"] = _states(told["nodes"])
        for name, rows in told.items():
            family = BY_NAME.get(name)
            if family is not None and rows:
                yield _written(family, rows)


def _states(rows: Rows) -> Rows:
    """Count nodes by state; each of them told its own."""
    counts = Counter(labels[0] for labels, _ in rows)
    return [[[state], count] for state, count in sorted(counts.items())]


def _written(family: Family, rows: Rows) -> Metric:
    name, labels = PREFIX + family.name, list(family.labels)
    if family.kind == "histogram":
        spread = HistogramMetricFamily(name, family.help, labels=labels)
        bounds = [*map(str, family.bounds), "+Inf"]
        for values, counts, total in rows:
            buckets = list(zip(bounds, accumulate(counts), strict=True))
            spread.add_metric(values, buckets, total)
        return spread
    made = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = made(name, family.help, labels=labels)
    for values, number in rows:
        metric.add_metric(values, math.nan if number is None else number)
    return metric
