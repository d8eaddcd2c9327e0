"""How quick is each model of card beside the others, as measured on work that ran on several?

A kind of work tells how its models compare by its mean run times; a model's speed is the geometric
mean over the kinds that ran on it and on another.
"""

from __future__ import annotations

import math
from collections import defaultdict

KINDS_MAX = 1_024
MODELS_MAX = 64
_WEIGHT = 0.2
_RUNS_MIN = 3
NEWS_EVERY = 32
"""Runs after which speeds are worked out anew: that is dear, and moves little with one run."""


class Paces:
    """Mean run times by kind and model of card; what is kept is bounded, the oldest kind goes."""

    def __init__(self) -> None:
        self._means: dict[str, dict[str, tuple[int, float]]] = {}
        self._runs = 0

    @property
    def is_news(self) -> bool:
        """Tell whether speeds should be asked for again."""
        return self._runs >= NEWS_EVERY

    def add(self, kind: str, model: str, run_ns: int) -> None:
        """Take in one run on one model of card."""
        means = self._means.get(kind)
        if means is None:
            if len(self._means) >= KINDS_MAX:
                del self._means[next(iter(self._means))]
            means = self._means[kind] = {}
        if model not in means and len(means) >= MODELS_MAX:
            return
        runs, mean_ns = means.get(model, (0, float(run_ns)))
        means[model] = runs + 1, mean_ns + max(_WEIGHT, 1 / (runs + 1)) * (run_ns - mean_ns)
        self._runs += 1

    def speeds(self) -> dict[str, float]:
        """Return the speed of each model that was compared; the slowest has 1."""
        self._runs = 0
        found: dict[str, list[float]] = defaultdict(list)
        for means in self._means.values():
            logs = {
                model: -math.log(max(mean_ns, 1.0))
                for model, (runs, mean_ns) in means.items()
                if runs >= _RUNS_MIN
            }
            if len(logs) < 2:
                continue
            middle = sum(logs.values()) / len(logs)
            for model, value in logs.items():
                found[model].append(value - middle)
        if not found:
            return {}
        mean = {model: sum(values) / len(values) for model, values in found.items()}
        slowest = min(mean.values())
        return {model: math.exp(value - slowest) for model, value in sorted(mean.items())}
