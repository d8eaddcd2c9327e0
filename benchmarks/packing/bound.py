"""How fast could any scheduler be, knowing everything: a lower bound on the makespan.

At any moment the tasks on one card satisfy every *dual feasible function* f: if their shares of the
card's memory add up to at most 1, so do the values f(share). So on cards of one kind, the seconds
of all tasks weighted with f are at most the makespan times the number of cards, for each f. The
least makespan for which the seconds of each size can be divided among the kinds of cards like that
is a linear programme: no schedule is faster, may it look ahead, cut tasks and move them or not.

Source of the functions: Fekete and Schepers, "New classes of fast lower bounds for bin packing
problems", Mathematical Programming 91 (2001). With f(share) = share alone it is the volume bound.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from scipy.optimize import linprog

from .workloads import GIB, Workload

THRESHOLDS = tuple(step / 40 for step in range(1, 20))
STEPS = (1, 2, 3, 4, 5, 6)
EPSILON = 1e-9


def makespan_bound_s(workload: Workload) -> float:
    """Return the bound in seconds."""
    cards, seconds = Counter[int](), Counter[int]()
    for host in workload.hosts:
        cards[int(host.vram_gib * GIB)] += host.gpus
    for task in workload.tasks:
        seconds[task.vram_bytes] += task.seconds
    kinds, sizes = sorted(cards), sorted(seconds)
    # Variables: the seconds of size i on cards of kind k, where it fits; then the makespan.
    cells = [(i, k) for i, size in enumerate(sizes) for k, kind in enumerate(kinds) if size <= kind]
    at = {cell: number for number, cell in enumerate(cells)}
    limits = []
    for k, kind in enumerate(kinds):
        for weigh in _dual_feasible():
            row = np.zeros(len(cells) + 1)
            for i, size in enumerate(sizes):
                if size <= kind:
                    row[at[i, k]] = weigh(size / kind)
            row[-1] = -cards[kind]
            limits.append(row)
    all_of_it = np.zeros((len(sizes), len(cells) + 1))
    for (i, _), number in at.items():
        all_of_it[i, number] = 1
    makespan = np.zeros(len(cells) + 1)
    makespan[-1] = 1
    found = linprog(
        makespan,
        A_ub=np.array(limits),
        b_ub=np.zeros(len(limits)),
        A_eq=all_of_it,
        b_eq=np.array([seconds[size] for size in sizes]),
        method="highs",
    )
    assert found.success, found.message
    return max(float(found.fun), *(task.seconds for task in workload.tasks))


def _dual_feasible() -> Iterator[Callable[[float], float]]:
    """Yield functions of a share; each keeps every set of shares that fits within 1."""
    yield float
    for threshold in THRESHOLDS:
        yield partial(_without_small, threshold)
    for step in STEPS:
        yield partial(_rounded_down, step)


def _without_small(threshold: float, share: float) -> float:
    """Count what is larger than all but the threshold as a whole card, what is smaller not."""
    if share < threshold:
        return 0.0
    return 1.0 if share > 1 - threshold else share


def _rounded_down(step: int, share: float) -> float:
    parts = share * (step + 1)
    if abs(parts - round(parts)) < EPSILON:
        return share
    return int(parts) / step
