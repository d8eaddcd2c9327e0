"""When does the node knock at its scheduler's door, and which scheduler does it obey?"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from random import Random

from ..protocol.codec import VERSION, encode
from ..protocol.messages import Message

REPLY_NS = 5_000_000_000
SILENCE_NS = 10_000_000_000  # without a word from a scheduler that says one every second
UNANSWERED_NS = 30_000_000_000  # while a lease is renewed with every heartbeat


class Standing(Enum):
    """How the node stands with its scheduler."""

    OUTSIDE = "outside"
    KNOCKING = "knocking"
    INSIDE = "inside"


@dataclass(slots=True)
class Session:
    """Decide when to register; pure: time is handed in, chance comes from `random`.

    A scheduler that is heard and yet answers no heartbeat does not know the node any more: it is
    told again who that is, when `unanswered_ns` have passed.

    `epoch` is the highest one seen on an authenticated channel, `version` the protocol that the
    scheduler answered in.
    """

    random: Random
    delay_ns_min: int
    delay_ns_max: int
    standing: Standing = Standing.OUTSIDE
    epoch: int = 0
    version: int = VERSION
    heard_at: int = 0
    answered_at: int = 0
    unanswered_ns: int = UNANSWERED_NS
    failures: int = 0
    due_at: int = 0
    was_cut: bool = False

    def is_due(self, now: int) -> bool:
        """Tell whether to send REGISTER now; a reply that does not come is a failure."""
        if self.standing is Standing.INSIDE:
            if now < self.deadline():
                return False
            self._knock_again(now)
        if now < self.due_at:
            return False
        if self.standing is Standing.KNOCKING:
            self.on_failure(now)
            return False
        return True

    def on_sent(self, now: int) -> None:
        """Take in that REGISTER went out."""
        self.standing = Standing.KNOCKING
        self.due_at = now + REPLY_NS

    def on_registered(self, epoch: int, now: int, version: int = VERSION) -> bool:
        """Take in the welcome; False when it comes from the past."""
        if epoch < self.epoch:
            return False
        self.epoch = epoch
        self.version = version
        self.standing = Standing.INSIDE
        self.was_cut = False
        self.failures = 0
        self.heard_at = self.answered_at = now
        return True

    def frame(self, message: Message) -> bytes:
        """Write a message as this scheduler reads it."""
        return encode(message, self.epoch, self.version)

    def on_failure(self, now: int, retry_after_ms: int = 0) -> None:
        """Try again later, and later still the next time."""
        self.standing = Standing.OUTSIDE
        longest = min(self.delay_ns_max, self.delay_ns_min << min(self.failures, 16))
        self.failures += 1
        delay = self.delay_ns_min + int(self.random.random() * longest)
        self.due_at = now + max(delay, retry_after_ms * 1_000_000)

    def on_heard(self, epoch: int, now: int, *, is_ours: bool = True) -> bool:
        """Tell whether to obey a message of the scheduler that is for this node alone.

        One for another start of the agent (not `is_ours`) is no answer to this one.
        """
        if epoch < self.epoch:
            return False
        self.heard_at = now
        if is_ours:
            self.answered_at = now
        return True

    def may_take_work(self) -> bool:
        """Tell whether to take an offer: a REGISTER under way says that we do not hold it."""
        return self.standing is Standing.INSIDE

    def on_beacon(self, epoch: int, window_ms: int, now: int) -> bool:
        """Register again, at a random moment of the window: a scheduler is new or back."""
        if epoch < self.epoch:
            return False
        self.heard_at = now
        if epoch > self.epoch or self.was_cut:
            self.epoch = epoch
            self.was_cut = False
            self.standing = Standing.OUTSIDE
            self.due_at = now + int(self.random.random() * max(0, window_ms) * 1_000_000)
        return True

    def on_cut(self, now: int) -> None:
        """Wait for a beacon, since a connection ended: a scheduler that is gone hears no knock."""
        if self.standing is Standing.INSIDE:
            self.standing = Standing.OUTSIDE
            self.was_cut = True
            self.due_at = now + SILENCE_NS

    def on_refused(self, now: int) -> None:
        """Take in that a connection was refused: everything begins anew, later."""
        self.on_failure(now)

    def deadline(self) -> int:
        """Say when `is_due` is to be asked again."""
        if self.standing is not Standing.INSIDE:
            return self.due_at
        return min(self.heard_at + SILENCE_NS, self.answered_at + self.unanswered_ns)

    def _knock_again(self, now: int) -> None:
        self.standing = Standing.OUTSIDE
        self.due_at = now
