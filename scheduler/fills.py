"""Which task should go first into what is free of one card, so that least of it stays empty?

Largest first is good and greedy: 19 GiB in a gap of 24 leave 5 that nobody wants, where 18 and 6
leave none. So the largest that fits is held against each smaller one together with the largest
that still fits beside it. A fill is worth the sum of its sizes to the power of WORTH: at 1 only
the gap would count and small tasks, which fill any gap, would be used up too soon; the larger it
is, the more large ones, which fit into few, come first. 1.5 did best on the workloads of
`benchmarks/packing`. (The idea is the minimum bin slack of Gupta and Ho, "A new heuristic
algorithm for the one-dimensional bin-packing problem", Production Planning & Control 10, 1999,
cut to pairs.)

By that alone one size after the other would come to its end, and there would be ever fewer to
choose from: small cards would idle while what is left is too large for them. So a size counts for
more the longer its queue would last if as many of it ran all the time as do now, to the power of
LAG: that has all sizes come to their end together. It counts steps of sizes, eight to an octave.
"""

from __future__ import annotations

import bisect
import functools
from collections.abc import Mapping, Sequence

WORTH = 1.5
LAG = 0.15
SIZES_MAX = 1_024
"""More sizes than this are not searched: the largest goes first."""
_STEP_BITS = 3


@functools.lru_cache(maxsize=4 * SIZES_MAX)
def step(size: int) -> int:
    """Return the step of a size: what is of one is within an eighth of the lower end of it."""
    bits = max(size.bit_length() - 1, _STEP_BITS)
    return (bits << _STEP_BITS) + (size >> (bits - _STEP_BITS))


def first_into(
    gap: int, sizes: Sequence[int], waiting: Mapping[int, int], running: Mapping[int, int]
) -> int | None:
    """Return the size to go first into a gap; `sizes` are those that wait, ascending.

    None when none of them fits. `waiting` and `running` say by step of size how many do.
    """
    top = bisect.bisect_right(sizes, gap) - 1
    if top < 0:
        return None
    if len(sizes) > SIZES_MAX:
        return sizes[top]
    lags = {
        each: float((1 + count / (1 + running.get(each, 0))) ** LAG)
        for each, count in waiting.items()
    }
    worths = [float(size) ** WORTH * lags.get(step(size), 1.0) for size in sizes[: top + 1]]
    best, best_worth = top, 0.0
    beside = 0
    for first in range(top, -1, -1):
        size = sizes[first]
        while beside <= first and sizes[beside] <= gap - size:
            beside += 1
        worth = worths[first]
        if beside:
            worth += worths[min(beside - 1, first)]
        if worth > best_worth:
            best, best_worth = first, worth
        if 2 * size <= gap:
            break  # what goes beside it is no larger: from here on fills only get emptier
    return sizes[best]
