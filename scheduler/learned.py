"""How much VRAM do tasks alike need: measured peaks per key, and what `--vram auto` makes of them?

The reservation is the larger of two estimates of the 95th percentile, and a margin: that of
F. Harrell and C. Davis ("A new distribution-free quantile estimator", Biometrika 69, 1982), which
uses every run and assumes nothing, and mean + 1.645 standard deviations, which is steadier where
peaks are spread evenly about their mean. Neither alone does for few runs of every kind:
`benchmarks/learned_vram.py` compares them. A run that ended for want of memory needed at least
what it had: it counts as much as the runs that needed more on average (B. Efron, "The two sample
problem with censored data", 1967, spreads it over them), or as a quarter more where none did.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..protocol.codec import pack_document, unpack_document
from ..protocol.errors import MalformedFrame
from .records import LearnedRow

KEYS_MAX = 4_096
SAMPLE_MAX = 64
RUNS_MIN = 5
"""So many measured runs come before an estimate: until then a task gets a whole GPU."""
QUANTILE = 0.95
NORMAL_QUANTILE = 1.645
MARGIN = 1.03
CENSORED_GROWTH = 1.25
GRAIN_BYTES = 16 << 20  # reservations are multiples of this
MOVED = 0.01
"""An estimate that moved by less is not told anybody, and not written down."""
WRITE_RUNS = 32
"""After so many runs it is written in any case: run times and counts are in the row as well."""
_STEPS_PER_RUN = 32


@dataclass(slots=True)
class Known:
    """What is known of one key: its latest runs, and counts of all of them.

    `bounds` are of runs that ended for want of memory: they needed more. `unwritten` counts what
    came since it was written.
    """

    peaks: list[int] = field(default_factory=list)
    bounds: list[int] = field(default_factory=list)
    run_ms: list[int] = field(default_factory=list)
    runs: int = 0
    ooms: int = 0
    reserved_bytes: int = 0
    unwritten: int = 0

    def document(self) -> dict[str, Any]:
        names = ("peaks", "bounds", "run_ms", "runs", "ooms", "reserved_bytes")
        return {name: getattr(self, name) for name in names}


class Learned:
    """All that was learned, by key; the key that was changed least lately goes when it is full.

    `revision` grows when a reservation moved: what could not be placed may fit now.
    """

    def __init__(self) -> None:
        self._known: dict[str, Known] = {}
        self.revision = 0

    def recover(self, rows: Sequence[LearnedRow]) -> None:
        """Take in what is on disk; a row that cannot be read is learned anew."""
        for row in rows[-KEYS_MAX:]:
            known = _known(row.body)
            if known is not None:
                self._known[row.key] = known

    def add_run(self, key: str, peak_bytes: int, run_ms: int) -> None:
        """Take in a run that succeeded; a peak of 0 or less was not measured."""
        known = self._of(key)
        known.runs += 1
        _append(known.run_ms, run_ms)
        if peak_bytes > 0:
            _append(known.peaks, peak_bytes)
        self._renew(known)

    def add_oom(self, key: str, bound_bytes: int) -> None:
        """Take in a run that needed more GPU memory than this."""
        known = self._of(key)
        known.ooms += 1
        _append(known.bounds, bound_bytes)
        if len(known.peaks) + len(known.bounds) > SAMPLE_MAX:
            del known.peaks[: len(known.peaks) + len(known.bounds) - SAMPLE_MAX]
        self._renew(known)

    def reservation(self, key: str) -> int | None:
        """Return what a task is to reserve; None while too few runs were measured."""
        known = self._known.get(key)
        return known.reserved_bytes or None if known is not None else None

    def measured(self, key: str) -> int:
        """Count the runs by which a reservation is sized, or will be once they are enough."""
        known = self._known.get(key)
        return len(known.peaks) if known is not None else 0

    def due(self, key: str, now_ms: int) -> LearnedRow | None:
        """Return the row of a key if it is worth to be written now; then it counts as written."""
        known = self._known[key]
        if 0 <= known.unwritten < WRITE_RUNS:
            return None
        known.unwritten = 0
        return LearnedRow(key, pack_document(known.document()), now_ms)

    def items(self) -> Iterator[tuple[str, Known]]:
        yield from self._known.items()

    def _of(self, key: str) -> Known:
        known = self._known.pop(key, None)
        if known is None:
            if len(self._known) >= KEYS_MAX:
                del self._known[next(iter(self._known))]
            known = Known()
        self._known[key] = known
        return known

    def _renew(self, known: Known) -> None:
        known.unwritten += known.unwritten >= 0
        if len(known.peaks) < RUNS_MIN:
            known.unwritten = -1  # each of the first runs is worth to be kept
            return
        wanted = reserve(known.peaks, known.bounds)
        if abs(wanted - known.reserved_bytes) > MOVED * known.reserved_bytes:
            known.reserved_bytes, known.unwritten = wanted, -1
            self.revision += 1


def reserve(peaks: Sequence[int], bounds: Sequence[int] = ()) -> int:
    """Return what to reserve by measured peaks, and by what was not enough, in bytes."""
    margin = math.ceil(MARGIN * estimate(peaks, bounds) / GRAIN_BYTES)
    return margin * GRAIN_BYTES


def estimate(peaks: Sequence[int], bounds: Sequence[int] = ()) -> float:
    """Estimate the 95th percentile of what runs need."""
    needs = sorted([*map(float, peaks), *(_counted(bound, peaks) for bound in bounds)])
    weights = quantile_weights(len(needs))
    by_rank = sum(weight * need for weight, need in zip(weights, needs, strict=True))
    mean = sum(needs) / len(needs)
    variance = sum((need - mean) ** 2 for need in needs) / max(len(needs) - 1, 1)
    return max(by_rank, mean + NORMAL_QUANTILE * math.sqrt(variance))


def _counted(bound: int, peaks: Sequence[int]) -> float:
    """Return the need that a run with too little memory counts as."""
    above = [peak for peak in peaks if peak > bound]
    return sum(above) / len(above) if above else bound * CENSORED_GROWTH


@functools.lru_cache(maxsize=2 * SAMPLE_MAX)
def quantile_weights(count: int) -> tuple[float, ...]:
    """Return the weight of each rank in the estimate of Harrell and Davis.

    It is the mass of a beta distribution over the part of 0..1 that belongs to the rank, found
    here by the midpoint rule.
    """
    a, b = (count + 1) * QUANTILE, (count + 1) * (1 - QUANTILE)
    steps = count * _STEPS_PER_RUN
    mass = [
        math.exp((a - 1) * math.log(x) + (b - 1) * math.log1p(-x))
        for x in ((step + 0.5) / steps for step in range(steps))
    ]
    total = sum(mass)
    return tuple(
        sum(mass[at : at + _STEPS_PER_RUN]) / total for at in range(0, steps, _STEPS_PER_RUN)
    )


def percentile(values: Sequence[int], part: float) -> int:
    """Return the value below which so large a part of the values lies; 0 of none."""
    if not values:
        return 0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(part * len(ordered)) - 1)]


def _append(values: list[int], value: int) -> None:
    values.append(value)
    if len(values) > SAMPLE_MAX:
        del values[0]


def _known(body: bytes) -> Known | None:
    try:
        document: Mapping[str, Any] = unpack_document(body)
        return Known(**{name: document[name] for name in Known().document()})
    except (MalformedFrame, KeyError):
        return None
