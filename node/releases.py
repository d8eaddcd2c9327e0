"""When is a card free again: its task's tree is gone, and a reading taken after that shows it?

An attempt that used cards stays in the table, with its slot, until then; so does its result. A
resident that ended keeps its part. What does not come free in time is held back: the result goes
out, the card is lent to nobody.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ..protocol.resources import MILLI, format_bytes
from .effects import CardsChanged
from .gpu import Gpu, Reading, released
from .slots import CardCharge, Charge, Holder
from .task import Attempt, Ending

if TYPE_CHECKING:
    from .state import State

WAIT_S = 30
WAIT_NS_MAX = WAIT_S * 1_000_000_000
STOPPING_WAIT_NS_MAX = 1_000_000_000  # an agent that leaves: the next one judges anew
READ_AGAIN_NS = 250_000_000
HELD_BACK = "held back:"
NOT_RELEASED = "its memory was not released after the end of a task"


class Baseline(NamedTuple):
    """What a card showed when nobody here had a part of it."""

    used_bytes: int
    pids: frozenset[int]


@dataclass(slots=True)
class Release:
    """One charge that is to come free: of an attempt with its answer, or of a resident.

    `lane` is the worker whose end is awaited (0: the tree is gone), `gone_ns` the turn after
    which a reading counts; `shows` says of each card what the last one that counts showed.
    """

    holder: Holder
    cards: tuple[CardCharge, ...]
    waits: tuple[Attempt, Ending] | None = None
    is_held_back: bool = False
    lane: int = 0
    gone_ns: int = -1
    until_ns: int = -1
    shows: dict[str, str] = field(default_factory=dict)


def is_needed(attempt: Attempt) -> bool:
    """Tell whether an attempt that ends may have left something on a card."""
    return attempt.handed and attempt.reserved and bool(attempt.charge.cards)


def begin(state: State, attempt: Attempt, answer: Ending) -> None:
    """Keep an attempt that ended, with what it says, until its cards are free."""
    lane = attempt.lane if attempt.lane in state.lanes.by_id else 0
    attempt.lane = 0
    cards = attempt.charge.cards
    state.releases[attempt.seq] = Release(attempt.seq, cards, (attempt, answer), lane=lane)


def begin_resident(state: State, name: str) -> None:
    """Keep the card of a resident whose worker is gone until it is free."""
    charge = state.slots.holders.get(name)
    if charge is not None and charge.cards:
        state.releases[name] = Release(name, charge.cards)
    else:
        state.slots.release(name)


def on_lane_gone(state: State, lane: int) -> None:
    """Take in that a worker is gone with its tree."""
    for release in state.releases.values():
        if release.lane == lane:
            release.lane = 0


def turn(state: State, now: int) -> list[tuple[Attempt, Ending]]:
    """Let time pass; return what ends although its cards are not free."""
    over = []
    for release in list(state.releases.values()):
        if release.until_ns < 0:
            release.until_ns = now + WAIT_NS_MAX
        if not release.lane and release.gone_ns < 0:
            release.gone_ns = state.read_at = now
        leaves = release.waits and state.is_draining
        if leaves and now >= release.until_ns - WAIT_NS_MAX + STOPPING_WAIT_NS_MAX:
            del state.releases[release.holder]
            over.append(release)
        elif now >= release.until_ns and not release.is_held_back:
            over.append(release)
            _hold_back(state, release)
    return [release.waits for release in over if release.waits]


def _hold_back(state: State, release: Release) -> None:
    """Lend the cards to nobody; what else its task had is free."""
    del state.releases[release.holder]
    if release.waits:
        state.release(release.waits[0])
    else:
        state.slots.release(release.holder)
    state.seq += 1  # a resident may be held back more than once
    release.holder, release.is_held_back = f"{HELD_BACK}{state.seq}", True
    state.slots.take(release.holder, Charge(cards=release.cards), adopt=True)
    state.releases[release.holder] = release
    state.effects.append(CardsChanged(_uuids(release), is_news=True))


def on_reading(
    state: State, reading: Reading, asked_ns: int, alive: frozenset[int], now: int
) -> list[tuple[Attempt, Ending]]:
    """Take in what the cards show; return the attempts that are over.

    `alive` are those of the processes shown that live. Those of an attempt are dead by then: what
    lives belongs to a neighbour, and what is dead and still shown holds its memory yet.
    """
    over = []
    for release in list(state.releases.values()):
        if release.gone_ns < 0:
            continue
        if asked_ns < release.gone_ns:
            state.read_at = now
            continue
        release.shows = {p.uuid: _shows(state, reading, p, alive) for p in release.cards}
        if any(release.shows.values()):
            continue
        del state.releases[release.holder]
        if release.waits and not release.is_held_back:
            over.append(release.waits)
        else:
            state.slots.release(release.holder)
        state.effects.append(CardsChanged(_uuids(release), is_news=release.is_held_back))
    for gpu in reading.gpus:
        if state.slots.is_card_free(gpu.uuid):
            state.baselines[gpu.uuid] = Baseline(gpu.memory_used_bytes, gpu.pids)
    return over


def _shows(state: State, reading: Reading, part: CardCharge, alive: frozenset[int]) -> str:
    """Say what keeps a card from being free; empty when nothing does."""
    gpu = reading.gpu(part.uuid)
    if gpu is None:
        is_lost = part.uuid in state.health.cards and state.health.cards[part.uuid].faults
        return "" if is_lost else "it is not shown any more"  # nobody gets a card that is lost
    alone = part.share_milli == MILLI
    before = state.baselines.get(part.uuid)
    known = before.pids if before is not None else frozenset()
    dead = gpu.pids - known - alive
    # Memory tells only of cards with no other user here: a neighbour's comes and goes.
    compared = before is not None and (alone or not _has_company(state, part))
    baseline = {part.uuid: before.used_bytes} if before is not None and compared else {}
    if released(reading, [part.uuid], dead, alone, baseline):
        return ""
    return f"it still shows {_residue(gpu, dead, baseline)}"


def _residue(gpu: Gpu, dead: frozenset[int], baseline: dict[str, int]) -> str:
    if gpu.pids_visible and dead:
        return f"process {', '.join(map(str, sorted(dead)))}"
    used, before = format_bytes(gpu.memory_used_bytes), format_bytes(baseline.get(gpu.uuid, 0))
    return f"{used} of memory in use, {before} before its task"


def _has_company(state: State, part: CardCharge) -> bool:
    charges = state.slots.holders.values()
    parts = sum(other.uuid == part.uuid for charge in charges for other in charge.cards)
    return parts > 1


def withheld(state: State) -> dict[str, str]:
    """Name the cards that are held back, with the reason."""
    found = {}
    for release in state.releases.values():
        if release.is_held_back:
            for uuid in _uuids(release):
                found[uuid] = f"{WAIT_S} s after the end of its task {_reason(release, uuid)}"
    return found


def let_go(state: State, uuids: Iterable[str]) -> None:
    """Lend cards again that are held back: a person says that they may be."""
    wanted = set(uuids)
    for release in list(state.releases.values()):
        if release.is_held_back and wanted & set(_uuids(release)):
            del state.releases[release.holder]
            state.slots.release(release.holder)
            state.effects.append(CardsChanged(_uuids(release), is_news=True))


def _reason(release: Release, uuid: str) -> str:
    if release.lane:
        return "its worker has not ended"
    if not release.shows:
        return "no reading of it was taken"
    return release.shows.get(uuid) or "another card of that task is not free"


def deadline(state: State) -> int | None:
    """Say when a reading, or the end of a wait, is due."""
    waiting = [release for release in state.releases.values() if not release.is_held_back]
    due = [state.read_at] if _wants_reading(state) else []
    return min([*due, *(release.until_ns for release in waiting)], default=None)


def is_reading_due(state: State, now: int) -> bool:
    """Tell whether the cards should be read now; asking puts the next time off."""
    if now < state.read_at or not _wants_reading(state):
        return False
    state.read_at = now + READ_AGAIN_NS
    return True


def _wants_reading(state: State) -> bool:
    """Tell whether something waits for a reading alone; for what is held back the usual ones do."""
    return any(
        release.gone_ns >= 0 and not release.is_held_back for release in state.releases.values()
    )


def _uuids(release: Release) -> tuple[str, ...]:
    return tuple(part.uuid for part in release.cards)
