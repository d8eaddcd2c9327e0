"""Who holds how much of each card, as the last reading shows it, and what room does that leave?

A process belongs to the runner that it descends from; one that descends from none is foreign.
Where NVML hides processes or what they hold, a card that a single holder has is told by its
memory alone, and of the others nothing is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from ..protocol.measures import UNKNOWN, GpuMeasure
from ..protocol.resources import MILLI, Request, format_bytes
from .gpu import Gpu, GpuProcess, Reading
from .slots import Charge, Holder
from .task import Attempt

if TYPE_CHECKING:
    from .state import State

# What a driver keeps of a card for itself counts as free: a card is lent at its whole size.
RESERVE_BYTES_MAX = 1 << 30
RESERVE_PARTS = 16  # and of a small card at most so large a part
STRANGERS_NAMED_MAX = 3
BLIND = "its driver has not answered for so long that nothing is known of it"
# It serves the processes of others, which are listed beside it.
SERVERS = ("nvidia-cuda-mps",)


class ForeignPolicy(Enum):
    """What processes that are not of this node mean for its cards; the values are those of
    `[node] foreign_processes`."""

    AVOID = "avoid"
    SHARE = "share"
    IGNORE = "ignore"


class Owner(NamedTuple):
    """For whom a runner works: what holds its slot (None: nothing any more), and the attempt."""

    holder: Holder | None
    attempt: Attempt | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """One card: `held` by holder, `strangers` with `foreign_bytes`, and the driver's `rest_bytes`.

    `is_split`: it was told by process who holds what, so that who is not in `held` holds nothing.
    `peaks` are of the largest process of each holder, where the driver keeps book of them.
    """

    gpu: Gpu
    held: Mapping[Holder, int]
    ours_bytes: int
    rest_bytes: int
    foreign_bytes: int = UNKNOWN
    strangers: tuple[GpuProcess, ...] = ()
    is_split: bool = False
    peaks: Mapping[Holder, int] = field(default_factory=dict)


def see(state: State, reading: Reading, owners: Mapping[int, Owner]) -> None:
    """Take in a reading; `owners` are by the pid of their runner."""
    state.usage = {gpu.uuid: _usage(state, gpu, owners) for gpu in reading.gpus}
    for owner in owners.values():
        if owner.attempt is not None and owner.attempt.charge.cards:
            _note(state, owner.attempt, owner.holder)


def look_back(state: State, silent_ns: int, silent_ns_max: int) -> bool:
    """Lend no card while readings fail to come; tell whether that changed."""
    before, state.blind = state.blind, BLIND if silent_ns > silent_ns_max else ""
    return before != state.blind


def _usage(state: State, gpu: Gpu, owners: Mapping[int, Owner]) -> Usage:
    ours: list[tuple[Holder | None, int | None]] = []
    peaks: dict[Holder, int] = {}
    strangers: list[GpuProcess] = []
    for process in gpu.processes if gpu.pids_visible else ():
        owner = _owner(process, owners)
        if owner is not None:
            ours.append((owner.holder, process.memory_bytes))
            if owner.holder is not None and process.peak_bytes is not None:
                peaks[owner.holder] = max(peaks.get(owner.holder, 0), process.peak_bytes)
        elif process.name not in SERVERS:
            strangers.append(process)
    sizes = [size for _, size in ours] + [process.memory_bytes for process in strangers]
    if not gpu.pids_visible or None in sizes:
        return _unsplit(state, gpu, tuple(strangers))
    held: dict[Holder, int] = {}
    for holder, size in ours:
        if holder is not None:
            held[holder] = held.get(holder, 0) + (size or 0)
    ours_bytes = sum(size or 0 for _, size in ours)
    foreign_bytes = sum(process.memory_bytes or 0 for process in strangers)
    rest = max(0, gpu.memory_used_bytes - ours_bytes - foreign_bytes)
    return Usage(
        gpu, held, ours_bytes, rest, foreign_bytes, tuple(strangers), is_split=True, peaks=peaks
    )


def _unsplit(state: State, gpu: Gpu, strangers: tuple[GpuProcess, ...]) -> Usage:
    """Tell by the memory in use now and when nobody here had a part of the card."""
    card = state.slots.cards.get(gpu.uuid)
    lent = card.lent if card is not None else {}
    if not lent:
        return Usage(gpu, {}, 0, gpu.memory_used_bytes, strangers=strangers)
    before = state.baselines.get(gpu.uuid)
    rest = min(gpu.memory_used_bytes, before.used_bytes if before is not None else 0)
    ours = gpu.memory_used_bytes - rest
    is_told = before is not None and len(lent) == 1
    return Usage(gpu, dict.fromkeys(lent, ours) if is_told else {}, ours, rest, strangers=strangers)


def _owner(process: GpuProcess, owners: Mapping[int, Owner]) -> Owner | None:
    above = (process.pid, *process.above)
    return next((owners[pid] for pid in above if pid in owners), None)


def _note(state: State, attempt: Attempt, holder: Holder | None) -> None:
    """Keep what an attempt holds now on one card, and the most that it ever did."""
    used = peak = UNKNOWN
    for part in attempt.charge.cards:
        usage = state.usage.get(part.uuid)
        if usage is None or holder is None:
            continue
        used = max(used, usage.held.get(holder, 0 if usage.is_split else UNKNOWN))
        peak = max(peak, usage.peaks.get(holder, UNKNOWN))
    if used > 0 or attempt.vram_peak_bytes > 0:  # nothing at all is too early to count
        attempt.vram_used_bytes = used
        attempt.vram_peak_bytes = max(attempt.vram_peak_bytes, used, peak)


def room_bytes(state: State, uuid: str) -> int:
    """Return what of a card is free and not spoken for by holders that hold less than is theirs.

    Holders that came after the reading hold nothing in it, so all that is theirs is spoken for.
    """
    usage, card = state.usage.get(uuid), state.slots.cards.get(uuid)
    if usage is None or card is None or state.foreign is ForeignPolicy.IGNORE:
        return UNKNOWN
    if state.foreign is ForeignPolicy.AVOID and _computing(usage):
        return 0
    if usage.is_split:
        owed = sum(max(0, size - usage.held.get(h, 0)) for h, size in card.lent.items())
    else:
        owed = max(0, sum(card.lent.values()) - usage.ours_bytes)
    reserve = min(RESERVE_BYTES_MAX, usage.gpu.memory_bytes // RESERVE_PARTS)
    return max(0, usage.gpu.memory_free_bytes + min(usage.rest_bytes, reserve) - owed)


def refusal(state: State, charge: Charge, request: Request | None = None) -> str:
    """Say why the measured room of a card is too small for a charge; empty when it is not.

    Of a card that it gets whole a task needs no more than its request says.
    """
    if state.blind and charge.cards:
        return f"GPU {charge.cards[0].uuid} is not lent: {state.blind}"
    for uuid, share_milli, vram_bytes in charge.cards:
        found = measure(state, uuid)
        if found is None:
            continue
        is_whole = share_milli == MILLI
        needed = request.vram_bytes if is_whole and request is not None else vram_bytes
        reason = found.refusal(needed, is_whole=is_whole)
        if reason:
            return f"GPU {uuid} {reason}"
    return ""


def measure(state: State, uuid: str) -> GpuMeasure | None:
    """Return what a heartbeat says of a card; None while no reading showed it."""
    usage = state.usage.get(uuid)
    if usage is None:
        return None
    gpu = usage.gpu
    return GpuMeasure(
        free_bytes=gpu.memory_free_bytes,
        room_bytes=room_bytes(state, uuid),
        ours_bytes=usage.ours_bytes,
        foreign_bytes=usage.foreign_bytes,
        foreign=len(_computing(usage)),
        temperature_c=_known(gpu.temperature_c),
        utilisation_percent=_known(gpu.utilisation_percent),
        power_w=_known(gpu.power_w),
        strangers=_named(usage),
    )


def used_of(attempts: list[Attempt]) -> list[int]:
    """Return what each of these attempts holds on one card; nothing where none is measured."""
    used = [attempt.vram_used_bytes for attempt in attempts]
    return used if any(size != UNKNOWN for size in used) else []


def _computing(usage: Usage) -> list[GpuProcess]:
    return [process for process in usage.strangers if process.is_compute and process.name]


def _named(usage: Usage) -> str:
    """Name the foreign processes that compute, the largest first."""
    found = sorted(
        _computing(usage), key=lambda process: (-(process.memory_bytes or 0), process.pid)
    )
    names = [
        f"{process.name} (pid {process.pid}"
        + (f", {format_bytes(process.memory_bytes)})" if process.memory_bytes else ")")
        for process in found[:STRANGERS_NAMED_MAX]
    ]
    if len(found) > STRANGERS_NAMED_MAX:
        names.append(f"{len(found) - STRANGERS_NAMED_MAX} more")
    return ", ".join(names)


def _known(value: int | None) -> int:
    return UNKNOWN if value is None else value
