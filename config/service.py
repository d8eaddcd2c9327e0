"""When does a daemon tell its service manager how it is, and when does it ask to live on?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from .notify import Notifier
from .watchdog import Proof, withheld

STATUS_EVERY_NS = 5_000_000_000
# So many pings fit into the time that the watchdog gives: one or two may come late.
PINGS_PER_TIME = 4
EXTEND_EVERY_NS = 2_000_000_000
EXTEND_S = 60.0
EXTEND_LOOK_EVERY = 1_000  # rows between two looks at the clock

Row = TypeVar("Row")


class Log(Protocol):
    """The part of a logger that is used here."""

    def warning(self, event: str, **facts: Any) -> Any: ...


class Service:
    """Sits in a loop's turn: that it is called at all shows that the loop turns."""

    def __init__(self, notifier: Notifier, log: Log) -> None:
        self._notifier = notifier
        self._log = log
        self._status_due_ns = 0
        self._ping_due_ns = 0
        self._withheld = False
        self._is_ready = False

    @property
    def is_watched(self) -> bool:
        """Tell whether pings are asked for, and so whether proofs are to be made."""
        return self._notifier.watchdog_ns > 0

    @property
    def is_ready(self) -> bool:
        return self._is_ready

    def ready(self, status: str) -> None:
        """Say, once at the start and once after each reload, that work can be taken."""
        if not self._is_ready:
            self._is_ready = True
            self._notifier.ready(status)

    def reloading(self, now_ns: int) -> None:
        """Say that the configuration is read anew; the next `ready` says that this is over."""
        if self._is_ready:
            self._is_ready = False
            self._notifier.reloading(now_ns)

    def stopping(self, status: str) -> None:
        self._notifier.stopping(status)

    def tend(
        self, now_ns: int, status: Callable[[], str], proofs: Callable[[], Sequence[Proof]]
    ) -> None:
        """Say how it goes and ping, each when it is time; called at the end of every turn."""
        if not self._notifier.is_heard:
            return
        if now_ns >= self._status_due_ns:
            self._status_due_ns = now_ns + STATUS_EVERY_NS
            self._notifier.status(status())
        if self.is_watched and now_ns >= self._ping_due_ns:
            self._ping(now_ns, withheld(proofs(), now_ns))

    def extending(self, rows: Iterable[Row], now: Callable[[], int], what: str) -> Iterator[Row]:
        """Hand rows on, and ask for time while they come: a start that hangs is not prolonged."""
        due_ns = 0
        for number, row in enumerate(rows):
            if number % EXTEND_LOOK_EVERY == 0 and now() >= due_ns:
                due_ns = now() + EXTEND_EVERY_NS
                self._notifier.extend(EXTEND_S, f"starting: {what}, {number:,} so far")
            yield row

    def starting(self, what: str, within_s: float) -> None:
        """Say what a start is at, and how long that may take."""
        self._notifier.extend(within_s, f"starting: {what}")

    def _ping(self, now_ns: int, why_not: str) -> None:
        if why_not:
            if not self._withheld:
                self._log.warning("the watchdog is not pinged", why=why_not)
            self._withheld = True
            return
        self._withheld = False
        self._ping_due_ns = now_ns + self._notifier.watchdog_ns // PINGS_PER_TIME
        self._notifier.ping()
