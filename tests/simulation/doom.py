"""What is to go wrong in a turn of the scheduler, and when it has come to that point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from .storage import DiskFault


class Point(Enum):
    """Where in a turn."""

    BEFORE_COMMIT = "before the commit"
    DISK = "in the commit"
    AFTER_COMMIT = "after the commit, before anything is sent"
    BETWEEN_SENDS = "between two sends"


@dataclass(slots=True)
class Doom:
    """Waits for the next turn that comes to its point, and past so many sends."""

    point: Point
    sends: int
    disk: DiskFault | None
    down_ns: int
    struck: Callable[[], None]


def take(dooms: list[Doom], point: Point) -> Doom | None:
    """Return the doom that strikes here, once."""
    for doom in dooms:
        if doom.point is not point:
            continue
        if point is Point.BETWEEN_SENDS and doom.sends > 0:
            doom.sends -= 1
            return None
        dooms.remove(doom)
        return doom
    return None
