"""How far may a transfer run ahead? The windows of puts and gets, with all their checks."""

from __future__ import annotations

from dataclasses import dataclass

from ..protocol.errors import Invalid
from ..protocol.store_messages import CHUNK_BYTES, PIECE_BYTES_MAX, WINDOW_CHUNKS

WINDOW_BYTES = CHUNK_BYTES * WINDOW_CHUNKS
ACTIVE_BYTES = 8 * 1024 * 1024
"""What all active transfers of one direction may have on the way, about."""


def window_bytes(active: int) -> int:
    """Divide what may be on the way among so many transfers; each has a chunk at least."""
    return min(max(ACTIVE_BYTES // max(active, 1), CHUNK_BYTES), WINDOW_BYTES)


@dataclass(slots=True)
class Incoming:
    """How much of an object was received, written and asked for; offsets in bytes."""

    size: int
    received: int = 0
    written: int = 0
    upto: int = 0

    def take(self, offset: int, count: int) -> None:
        """Count bytes that came; raises Invalid unless they are next and were asked for."""
        if offset != self.received:
            raise Invalid(f"a piece for offset {offset} came, the next is {self.received}")
        if not 0 < count <= PIECE_BYTES_MAX:
            raise Invalid(f"a piece has 1 to {PIECE_BYTES_MAX} bytes, found {count}")
        if offset + count > self.upto:
            raise Invalid(f"bytes up to {offset + count} came, asked for were {self.upto}")
        self.received += count

    def extend(self, window: int) -> bool:
        """Ask for more where at least half a window is free; tell whether there is credit to send.

        Never takes back what was asked for before.
        """
        upto = min(self.size, self.written + window)
        if upto < self.size and 2 * (upto - self.upto) < window:
            return False
        if upto <= self.upto:
            return False
        self.upto = upto
        return True

    @property
    def is_whole(self) -> bool:
        return self.written == self.size


@dataclass(slots=True)
class Outgoing:
    """How much of an object was sent, and how much the other side has taken in."""

    size: int
    sent: int
    taken: int
    window: int
    upto: int

    @classmethod
    def begin(cls, size: int, offset: int, upto: int) -> Outgoing:
        """Start at an offset; raises Invalid where it is not in the object or nothing is asked."""
        if not 0 <= offset <= size or upto < offset or (upto == offset < size):
            raise Invalid(f"cannot send bytes {offset} to {upto} of an object of {size}")
        return cls(size, offset, offset, upto - offset, upto)

    def credit(self, upto: int) -> None:
        """Hear how far the other side is; raises Invalid where it claims what it was not sent."""
        if upto < self.upto or upto - self.window > self.sent:
            raise Invalid(f"credit up to {upto} came after {self.upto}, sent are {self.sent}")
        self.upto = upto
        self.taken = upto - self.window

    def sendable(self, window: int) -> int:
        """Return how many bytes may be sent now."""
        return max(0, min(self.size, self.upto, self.taken + window) - self.sent)

    @property
    def is_over(self) -> bool:
        return self.taken >= self.size
