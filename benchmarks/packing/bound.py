"""How fast could any scheduler be, knowing everything: a lower bound on the makespan.

At any moment a card holds some set of tasks that fit into it together, a *configuration*. So the
least time in which the seconds of all sizes can be covered by configurations, each for any length
of time and each card with one at a time, is a lower bound: no schedule is faster, may it look
ahead, cut tasks and move them or not. It is a linear programme with a column for each
configuration, solved by making those that pay: given what a second of each size is worth, the best
one for a card is a knapsack.

Sources: P. Gilmore and R. Gomory, "A linear programming approach to the cutting-stock problem",
Operations Research 9 (1961); for the bound before the last column is found, A. Farley, "A note on
bounding a class of linear programming problems", Operations Research 38 (1990).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog
from scipy.sparse import coo_matrix

from .workloads import GIB, UNITS_PER_GIB, Workload

UNIT_BYTES = GIB // UNITS_PER_GIB
NEAR = 1e-3
"""The search ends when it is so near to the optimum, by its own proof; what it returns is below."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Configuration = tuple[int, dict[int, int]]
"""The index of a kind of card, and how many of each size (by index) are on it."""


def makespan_bound_s(workload: Workload) -> float:
    """Return the bound in seconds."""
    cards, seconds = Counter[int](), Counter[int]()
    for host in workload.hosts:
        cards[int(host.vram_gib * GIB) // UNIT_BYTES] += host.gpus
    for task in workload.tasks:
        assert not task.vram_bytes % UNIT_BYTES
        seconds[task.vram_bytes // UNIT_BYTES] += task.seconds
    sizes, kinds = np.array(sorted(seconds)), np.array(sorted(cards))
    asked = np.array([seconds[size] for size in sizes])
    counts = np.array([cards[kind] for kind in kinds])
    return max(_least_s(sizes, asked, kinds, counts), *(task.seconds for task in workload.tasks))


def _least_s(sizes: Ints, asked: Floats, kinds: Ints, counts: Ints) -> float:
    """Bound the time in which configurations cover the seconds asked of each size."""
    configurations: list[Configuration] = [
        (k, {i: int(kind // size)})
        for i, size in enumerate(sizes)
        for k, kind in enumerate(kinds)
        if size <= kind
    ]
    bound = 0.0
    while True:
        reached, worth = _relaxed(configurations, asked, counts)
        value, taken = _knapsacks(sizes, worth, int(kinds[-1]))
        # Worths that no configuration of a card exceeds, once scaled, prove a bound.
        bound = max(bound, float(asked @ worth / (counts @ value[kinds])))
        if bound >= reached * (1 - NEAR):
            return bound
        configurations += [
            (k, Counter(_packed(sizes, taken, int(kind)))) for k, kind in enumerate(kinds)
        ]


def _relaxed(
    configurations: list[Configuration], asked: Floats, counts: Ints
) -> tuple[float, Floats]:
    """Return the least time with these configurations, and what a second of each size is worth."""
    cells = [
        (i, at, -each) for at, (_, held) in enumerate(configurations) for i, each in held.items()
    ]
    cells += [(len(asked) + k, at, 1) for at, (k, _) in enumerate(configurations)]
    cells += [(len(asked) + k, len(configurations), -each) for k, each in enumerate(counts)]
    rows, columns, values = zip(*cells, strict=True)
    makespan = np.zeros(len(configurations) + 1)
    makespan[-1] = 1
    found = linprog(
        makespan,
        A_ub=coo_matrix((values, (rows, columns))).tocsr(),
        b_ub=np.concatenate([-asked, np.zeros(len(counts))]),
        method="highs",
    )
    assert found.success, found.message
    return float(found.fun), -found.ineqlin.marginals[: len(asked)]


def _knapsacks(sizes: Ints, worth: Floats, most: int) -> tuple[Floats, Ints]:
    """Return for each room up to `most` the worth of its best fill, and a size in it (-1: none)."""
    value, taken = np.zeros(most + 1), np.full(most + 1, -1)
    for room in range(1, most + 1):
        value[room] = value[room - 1]
        fitting = int(np.searchsorted(sizes, room, "right"))
        if fitting:
            fills = value[room - sizes[:fitting]] + worth[:fitting]
            best = int(fills.argmax())
            if fills[best] > value[room]:
                value[room], taken[room] = fills[best], best
    return value, taken


def _packed(sizes: Ints, taken: Ints, room: int) -> Iterator[int]:
    """Yield the sizes, by index, of the best fill of a room."""
    while room:
        if taken[room] < 0:
            room -= 1
        else:
            yield int(taken[room])
            room -= int(sizes[taken[room]])
