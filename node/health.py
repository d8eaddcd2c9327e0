"""Which cards are not well, and since when: readings in, faults per card in words out.

A lasting fault (an XID that blames the hardware, uncorrectable memory errors, a repair of memory
that is due or failed, a card that is lost) stays until a trial shows the card to be well, or until
a person says so; over restarts of the agent it is kept in a file. Slowness by heat or by the power
brake passes: it counts once it lasts, and is over once it was gone for a while. Pure: times are
handed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from .gpu import RELEASE_SLACK_BYTES, Gpu, Reading
from .xids import Blame, blame, describe

NS_PER_S = 1_000_000_000
UNSEEN_READINGS = 3
"""So many readings in a row must miss a card of which the driver does not say that it is lost."""
CARDS_MAX = 256


@dataclass(frozen=True, slots=True)
class Limits:
    """The times that faults go by, in nanoseconds."""

    slowed_ns: int = 30 * NS_PER_S
    recovered_ns: int = 60 * NS_PER_S
    trial_ns: int = 60 * NS_PER_S
    trial_ns_max: int = 3_600 * NS_PER_S


class Blamed(NamedTuple):
    """An XID that is to be told of a card: whose fault it is, and in which words."""

    uuids: tuple[str, ...]
    blame: Blame
    text: str


@dataclass(slots=True)
class Card:
    """What is known of one card; `gpu` is its last good reading.

    `faults` are the lasting ones, in words by their kind. `quiet_ns` is when the last of them was
    seen, from which a trial is waited for; `failures` of trials make that wait longer. `slowed` is
    why it is slow, since `slow_ns`; `fine_ns` since when it is not any more (-1: it is not so).
    `settled_bytes` is what it had in use beyond its processes while no task was on it.
    """

    gpu: Gpu
    faults: dict[str, str] = field(default_factory=dict)
    ecc_errors: int | None = None
    unseen: int = 0
    quiet_ns: int = 0
    failures: int = 0
    tried: str = ""
    is_tried: bool = False
    well_ns: int = -1
    slowed: str = ""
    slow_ns: int = -1
    fine_ns: int = -1
    is_slow: bool = False
    settled_bytes: int | None = None


@dataclass(slots=True)
class Health:
    """The health of all cards of one node, by UUID; `changes` counts what is worth keeping."""

    limits: Limits = Limits()
    cards: dict[str, Card] = field(default_factory=dict)
    changes: int = 0

    def withheld(self) -> dict[str, str]:
        """Return which cards are not lent, and why."""
        found = {}
        for uuid, card in self.cards.items():
            why = list(card.faults.values())
            why += [f"it is slowed down by {card.slowed}"] if card.is_slow else []
            why += ["no reading shows it now"] if card.unseen and not why else []
            if why:
                found[uuid] = "; ".join(why)
        return found

    def faults(self) -> dict[str, list[str]]:
        """Return the lasting faults of each card that has any."""
        return {uuid: list(c.faults.values()) for uuid, c in self.cards.items() if c.faults}

    def unseen(self) -> tuple[Gpu, ...]:
        """Return the cards that the last reading did not show, as they were."""
        return tuple(card.gpu for card in self.cards.values() if card.unseen)


def see(
    health: Health, reading: Reading, gpus: Iterable[Gpu], free: frozenset[str], now: int, at: str
) -> list[Blamed]:
    """Take in a reading, of which `gpus` are this node's; return the XIDs it told of them.

    `free` are the cards on which nothing of ours is; `at` is the time of day, as texts have it.
    """
    if reading.reason:
        return []
    shown = {gpu.uuid: gpu for gpu in gpus}
    _forget_parts(health, shown)
    for uuid, gpu in shown.items():
        card = health.cards.get(uuid)
        if card is None:
            if len(health.cards) >= CARDS_MAX:
                continue
            card = health.cards[uuid] = Card(gpu, ecc_errors=gpu.ecc_errors)
        _see_card(health, card, gpu, now, at)
        if uuid in free and not card.faults:
            card.settled_bytes = unexplained_bytes(gpu)
    gone = {lost.index: lost for lost in reading.lost}
    for uuid, card in health.cards.items():
        if uuid in shown:
            continue
        card.unseen += 1
        lost = gone.get(card.gpu.index)
        if lost is not None and lost.is_gone:
            _fault(health, card, "lost", f"it has fallen off the bus: {lost.error}", now, at)
        elif card.unseen >= UNSEEN_READINGS:
            text = f"it cannot be read: {lost.error}" if lost else "the driver lists it no more"
            _fault(health, card, "lost", text, now, at)
    return [_hear(health, xid.index, xid.xid, now, at) for xid in reading.xids]


def _forget_parts(health: Health, shown: Mapping[str, Gpu]) -> None:
    """Forget MIG devices, and whole cards, that their card was split or joined into."""
    parents = {gpu.parent_uuid for gpu in shown.values() if gpu.mig}
    for uuid, card in list(health.cards.items()):
        split = uuid in parents
        cut_anew = card.gpu.mig and (card.gpu.parent_uuid in parents | set(shown))
        if uuid not in shown and (split or cut_anew):
            del health.cards[uuid]
            health.changes += 1


def _see_card(health: Health, card: Card, gpu: Gpu, now: int, at: str) -> None:
    card.gpu, card.unseen = gpu, 0
    if gpu.ecc_errors is not None:
        grown = gpu.ecc_errors - (gpu.ecc_errors if card.ecc_errors is None else card.ecc_errors)
        if grown > 0:
            errors = "uncorrectable memory error" + ("s" if grown > 1 else "")
            _fault(health, card, "ecc", f"{grown} new {errors}", now, at)
        if gpu.ecc_errors != card.ecc_errors:
            card.ecc_errors = gpu.ecc_errors  # lower: the driver was loaded anew
            health.changes += 1
    if gpu.is_repair_pending:
        _fault(health, card, "repair", "a repair of its memory waits for a reset", now, at)
    if gpu.has_repair_failed:
        _fault(health, card, "repair", "its memory could not be repaired", now, at)
    _see_speed(health.limits, card, gpu, now)


def _see_speed(limits: Limits, card: Card, gpu: Gpu, now: int) -> None:
    """Note slowness that lasts, and that it is over once it was gone for long enough."""
    if gpu.slowed_by:
        card.slowed, card.fine_ns = " and ".join(gpu.slowed_by), -1
        card.slow_ns = now if card.slow_ns < 0 else card.slow_ns
        card.is_slow |= now - card.slow_ns >= limits.slowed_ns
        return
    card.fine_ns = now if card.fine_ns < 0 else card.fine_ns
    if not card.is_slow or now - card.fine_ns >= limits.recovered_ns:
        card.slowed, card.slow_ns, card.is_slow = "", -1, False


def _hear(health: Health, index: int, xid: int, now: int, at: str) -> Blamed:
    """Take in an XID of a card; of a MIG device nobody says which, so it is of each of them."""
    uuids = [uuid for uuid, card in health.cards.items() if card.gpu.index == index]
    whose = blame(xid)
    if whose is Blame.GPU:
        for uuid in uuids:
            _fault(health, health.cards[uuid], f"xid {xid}", describe(xid), now, at)
    return Blamed(tuple(uuids), whose, describe(xid))


def _fault(health: Health, card: Card, kind: str, text: str, now: int, at: str) -> None:
    """Note a lasting fault, with when it was first seen; one that goes on puts a trial off."""
    card.quiet_ns = now
    if kind not in card.faults or kind == "ecc":
        soon = card.well_ns >= 0 and now - card.well_ns < health.limits.trial_ns_max
        if not card.faults:  # one that comes back soon is waited for longer
            card.failures = card.failures + 1 if soon else 0
        card.faults[kind] = f"{text} (at {at})"
        card.is_tried = False
        health.changes += 1


def trials_due(health: Health, free: frozenset[str], now: int) -> list[str]:
    """Return the faulty cards to try now: quiet for long enough, and nothing of ours on them."""
    return [
        uuid
        for uuid, card in health.cards.items()
        if card.faults and not card.is_tried and uuid in free and now >= _due_ns(health, card)
    ]


def deadline(health: Health, free: frozenset[str]) -> int | None:
    """Say when the next trial is due."""
    due = [
        _due_ns(health, card)
        for uuid, card in health.cards.items()
        if card.faults and not card.is_tried and uuid in free
    ]
    return min(due, default=None)


def _due_ns(health: Health, card: Card) -> int:
    limits = health.limits
    return card.quiet_ns + min(limits.trial_ns << min(card.failures, 20), limits.trial_ns_max)


def obstacle(card: Card) -> str:
    """Say what shows without a trial that a card is not well; empty when nothing does."""
    if card.unseen:
        return "no reading shows it"
    if card.gpu.is_repair_pending or card.gpu.has_repair_failed:
        return "its memory is not repaired"
    if card.is_slow:
        return f"it is slowed down by {card.slowed}"
    extra = unexplained_bytes(card.gpu) - (card.settled_bytes or 0)
    if card.settled_bytes is not None and extra > RELEASE_SLACK_BYTES:
        return "memory is in use on it that belongs to no process"
    return ""


def on_tried(health: Health, uuid: str, failure: str, now: int) -> None:
    """Take in what came of a trial: a card that passed is well, else the next one comes later."""
    card = health.cards.get(uuid)
    if card is None:
        return
    card.is_tried = False
    card.tried = failure
    health.changes += 1
    if failure:
        card.failures += 1
        card.quiet_ns = now
    else:
        card.faults.clear()
        card.well_ns = now


def forget_faults(health: Health, uuids: Iterable[str]) -> None:
    """Believe a person that these cards are well; what is wrong still is seen again."""
    for uuid in uuids:
        card = health.cards.get(uuid)
        if card is None:
            continue
        health.changes += 1
        card.faults.clear()
        card.failures, card.is_tried, card.tried = 0, False, ""
        if card.unseen:
            del health.cards[uuid]


def unexplained_bytes(gpu: Gpu) -> int:
    """Return the memory in use on a card that belongs to no process shown."""
    return gpu.memory_used_bytes - sum(each.memory_bytes or 0 for each in gpu.processes)
