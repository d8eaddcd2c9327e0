"""Which calls ride along: a worker that takes several at a time needs one slot for all of them.

Of the calls that one worker takes together the first is charged with CPUs and memory, as its node
charges the worker once; those beside it ride. When it ends, one of them takes the slot over.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..protocol.resources import Request
from .seats import Seat

if TYPE_CHECKING:
    from .task import Attempt

Ride = tuple[Seat, int, int]
"""What calls must have in common to share a slot: where they run, and what a slot is."""


@dataclass(slots=True)
class Rides:
    """The calls of one node by what they share: how many have a slot, and who rides along."""

    drivers: Counter[Ride] = field(default_factory=Counter)
    riders: dict[Ride, dict[bytes, Attempt]] = field(default_factory=dict)

    def has_place(self, seat: Seat, request: Request, workers: int) -> bool:
        """Tell whether a call beside others needs no slot: each of so many workers has one.

        What names other resources, or wants its node alone, never shares them.
        """
        is_plain = not (request.exclusive or request.resources)
        return is_plain and self.drivers[_ride(seat, request)] >= max(workers, 1)

    def get_on(self, attempt: Attempt) -> None:
        """Count a call, which either `rides` or has a slot."""
        ride = _ride(attempt.seat, attempt.request)
        if attempt.rides:
            self.riders.setdefault(ride, {})[attempt.token] = attempt
        else:
            self.drivers[ride] += 1

    def get_off(self, attempt: Attempt) -> bool:
        """Count a call no more; tell whether its slot is free, which it is not if one had none or
        another has taken it over."""
        ride = _ride(attempt.seat, attempt.request)
        beside = self.riders.get(ride, {})
        if attempt.rides:
            del beside[attempt.token]
        elif beside and not (attempt.request.exclusive or attempt.request.resources):
            heir = beside.pop(next(iter(beside)))
            heir.rides = False
        else:
            self.drivers[ride] -= 1
            if not self.drivers[ride]:
                del self.drivers[ride]
            return True
        if not beside:
            del self.riders[ride]
        return False


def _ride(seat: Seat, request: Request) -> Ride:
    return seat, request.cpus_milli, request.memory_bytes
