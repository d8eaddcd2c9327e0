"""Does it fit: the node's own guard over what it has to lend, whatever the scheduler believes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ..protocol.resources import MILLI, Request, format_bytes
from .gpu import MIG_PREFIX

Holder = int | str


class CardCharge(NamedTuple):
    """What is taken of one card: a share in 1/1000, and memory."""

    uuid: str
    share_milli: int
    vram_bytes: int


class Charge(NamedTuple):
    """What one holder takes of its node; `exclusive` suffers no other task beside it."""

    cpus_milli: int = 0
    memory_bytes: int = 0
    cards: tuple[CardCharge, ...] = ()
    resources: tuple[tuple[str, int], ...] = ()
    exclusive: bool = False


@dataclass(slots=True)
class Card:
    """One card: its memory and what is taken of it, `lent` by holder in bytes."""

    memory_bytes: int
    share_milli: int = 0
    vram_bytes: int = 0
    lent: dict[Holder, int] = field(default_factory=dict)


class Mismatch(ValueError):  # noqa: N818 - says what the grant is
    """A grant names cards that do not fit its request, or that this node does not have."""


@dataclass(slots=True)
class Slots:
    """Hold what is lent to whom; nothing is ever lent twice.

    A card that vanished keeps its charges and takes no new ones; likewise those that are `closed`
    for the reason that stands there. Holders that are numbers are tasks and workers with calls,
    those with names are residents and what is held back.
    """

    cpus_milli: int
    memory_bytes: int
    cards: dict[str, Card] = field(default_factory=dict)
    cpus_taken_milli: int = 0
    memory_taken_bytes: int = 0
    holders: dict[Holder, Charge] = field(default_factory=dict)
    vanished: frozenset[str] = frozenset()
    resources: dict[str, int] = field(default_factory=dict)
    resources_taken: Counter[str] = field(default_factory=Counter)
    tasks: int = 0
    exclusives: int = 0
    closed: Mapping[str, str] = field(default_factory=dict)

    def charge(self, request: Request, gpus: tuple[str, ...]) -> Charge:
        """Say what a request takes when it is granted these cards; raises Mismatch.

        A call of a handler takes no card: its resident has it.
        """
        if request.handler:
            return Charge(request.cpus_milli, request.memory_bytes, (), request.resources)
        if len(gpus) != request.cards or len(set(gpus)) != len(gpus):
            raise Mismatch(f"{len(gpus)} GPUs were granted, {request.cards} are asked for")
        if len(gpus) > 1 and any(uuid.startswith(MIG_PREFIX) for uuid in gpus):
            raise Mismatch("CUDA shows one MIG device to a process: several were granted")
        cards = tuple(self._card_charge(request, uuid) for uuid in gpus)
        return Charge(
            request.cpus_milli, request.memory_bytes, cards, request.resources, request.exclusive
        )

    def _card_charge(self, request: Request, uuid: str) -> CardCharge:
        card = self.cards.get(uuid)
        if card is None:
            raise Mismatch(f"GPU {uuid} is not one of this node's")
        if request.gpus:
            return CardCharge(uuid, MILLI, card.memory_bytes)
        if request.gpu_milli:
            return CardCharge(
                uuid, request.gpu_milli, card.memory_bytes * request.gpu_milli // MILLI
            )
        return CardCharge(uuid, 0, request.vram_bytes)

    def refusal(self, charge: Charge) -> str:
        """Say why a task's charge does not fit now; empty when it does."""
        if self.exclusives:
            return "one task has this node alone"
        if charge.exclusive and self.tasks:
            return "it is to be alone, and other tasks run"
        if self.cpus_taken_milli + charge.cpus_milli > self.cpus_milli:
            free_milli = self.cpus_milli - self.cpus_taken_milli
            return f"{charge.cpus_milli / MILLI:g} CPUs asked, {free_milli / MILLI:g} free"
        if self.memory_taken_bytes + charge.memory_bytes > self.memory_bytes:
            free_bytes = max(0, self.memory_bytes - self.memory_taken_bytes)
            return (
                f"{format_bytes(charge.memory_bytes)} of memory asked, "
                f"{format_bytes(free_bytes)} free"
            )
        for name, count in charge.resources:
            free = self.resources.get(name, 0) - self.resources_taken[name]
            if count > free:
                return f"{count} {name} asked, {max(0, free)} free"
        for wanted in charge.cards:
            if reason := self.card_refusal(wanted):
                return reason
        return ""

    def card_refusal(self, wanted: CardCharge) -> str:
        """Say why a part of a card cannot be had now; empty when it can."""
        uuid, share_milli, vram_bytes = wanted
        card = self.cards.get(uuid)
        if card is None or uuid in self.vanished:
            return f"GPU {uuid} is gone"
        if uuid in self.closed:
            return f"GPU {uuid} is not well: {self.closed[uuid]}"
        if share_milli == MILLI and (card.share_milli or card.vram_bytes):
            return f"GPU {uuid} is in use"
        if card.share_milli + share_milli > MILLI:
            return f"GPU {uuid} has {(MILLI - card.share_milli) / MILLI:g} of it free"
        if card.vram_bytes + vram_bytes > card.memory_bytes:
            left = format_bytes(max(0, card.memory_bytes - card.vram_bytes))
            return f"GPU {uuid} has {left} of memory free, {format_bytes(vram_bytes)} asked"
        return ""

    def could_ever(self, charge: Charge) -> bool:
        """Tell whether a charge fits when nothing else runs."""
        return (
            charge.cpus_milli <= self.cpus_milli
            and charge.memory_bytes <= self.memory_bytes
            and all(count <= self.resources.get(name, 0) for name, count in charge.resources)
        )

    def room(self, charge: Charge) -> int:
        """Count how many more of a charge without cards fit now."""
        if self.exclusives or (charge.exclusive and self.tasks):
            return 0
        most = 1 if charge.exclusive else 1 << 20
        if charge.cpus_milli:
            most = min(most, (self.cpus_milli - self.cpus_taken_milli) // charge.cpus_milli)
        if charge.memory_bytes:
            free = self.memory_bytes - self.memory_taken_bytes
            most = min(most, free // charge.memory_bytes)
        for name, count in charge.resources:
            left = self.resources.get(name, 0) - self.resources_taken[name]
            most = min(most, left // max(count, 1))
        return max(0, most)

    def take(self, holder: Holder, charge: Charge, *, adopt: bool = False) -> None:
        """Lend; the caller has asked `refusal`, except when it adopts what runs already."""
        assert holder not in self.holders
        assert adopt or not self._misfit(holder, charge)
        self.holders[holder] = charge
        self._count(holder, charge, 1)
        for uuid, share_milli, vram_bytes in charge.cards:
            card = self.cards.setdefault(uuid, Card(0))
            card.share_milli += share_milli
            card.vram_bytes += vram_bytes
            card.lent[holder] = vram_bytes

    def release(self, holder: Holder) -> Charge | None:
        """Take back what a holder had; None when it held nothing."""
        charge = self.holders.pop(holder, None)
        if charge is None:
            return None
        self._count(holder, charge, -1)
        for uuid, share_milli, vram_bytes in charge.cards:
            card = self.cards[uuid]
            card.share_milli -= share_milli
            card.vram_bytes -= vram_bytes
            del card.lent[holder]
        return charge

    def _misfit(self, holder: Holder, charge: Charge) -> str:
        """Say why a charge does not fit; a resident may load where a task is alone."""
        if isinstance(holder, int):
            return self.refusal(charge)
        return next(filter(None, map(self.card_refusal, charge.cards)), "")

    def _count(self, holder: Holder, charge: Charge, sign: int) -> None:
        self.cpus_taken_milli += sign * charge.cpus_milli
        self.memory_taken_bytes += sign * charge.memory_bytes
        self.tasks += sign * isinstance(holder, int)
        self.exclusives += sign * charge.exclusive
        for name, count in charge.resources:
            self.resources_taken[name] += sign * count

    def see(self, memory_by_uuid: Mapping[str, int]) -> None:
        """Take in which cards the last probe showed."""
        for uuid, memory_bytes in memory_by_uuid.items():
            self.cards.setdefault(uuid, Card(memory_bytes)).memory_bytes = memory_bytes
        self.vanished = frozenset(self.cards) - frozenset(memory_by_uuid)

    def is_card_free(self, uuid: str) -> bool:
        """Tell whether nobody holds a part of a card."""
        card = self.cards.get(uuid)
        return card is None or not (card.share_milli or card.vram_bytes)

    def check(self) -> None:
        """Assert that the sums are those of the holders, and that no card is lent beyond itself."""
        charges = list(self.holders.values())
        assert self.cpus_taken_milli == sum(charge.cpus_milli for charge in charges)
        assert self.memory_taken_bytes == sum(charge.memory_bytes for charge in charges)
        assert self.tasks == sum(isinstance(holder, int) for holder in self.holders)
        assert self.exclusives == sum(charge.exclusive for charge in charges)
        named = Counter[str]()
        for charge in charges:
            named.update(dict(charge.resources))
        assert named == +self.resources_taken
        for uuid, card in self.cards.items():
            parts = [part for charge in charges for part in charge.cards if part.uuid == uuid]
            assert card.share_milli == sum(part.share_milli for part in parts)
            assert card.vram_bytes == sum(part.vram_bytes for part in parts)
            assert card.vram_bytes == sum(card.lent.values())
            assert card.share_milli <= MILLI, f"GPU {uuid} is lent {card.share_milli}/1000"
            alone = [part for part in parts if part.share_milli == MILLI]
            assert not alone or len(parts) == 1, f"GPU {uuid} is lent whole and to another"
            if uuid not in self.vanished:
                assert card.vram_bytes <= card.memory_bytes, f"GPU {uuid} has too much lent"
