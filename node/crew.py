"""Which runners does this agent have, and how do orders and answers pass between them?"""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ..worker.frames import PROTOCOL, SINCE, Ack, Attach, Hello, Message, Status
from . import link as links
from .grants import GrantsFile, WorkerGrant
from .link import Link, LinkGone, LinkNotReady
from .task import Key

ATTACH_AGAIN_NS = 10_000_000
EVENTS_MAX = 64


class Order(NamedTuple):
    """What waits to be said to a runner; `keys` are the attempts that it hands over."""

    message: Message
    keys: tuple[Key, ...] = ()
    fds: tuple[int, ...] = ()


@dataclass(slots=True, eq=False)
class Seat:
    """One runner: what it was handed and has not answered, what is not acknowledged to it.

    `is_ready`: it said Hello, and nothing that it was told is in doubt; until then orders wait.
    `records` counts the unacknowledged answers of each of its records; `protocol` is what both
    sides speak, `pid` its process, both 0 until it said so.
    """

    directory: Path
    grants: GrantsFile
    link: Link | None = None
    is_ready: bool = False
    protocol: int = 0
    pid: int = 0
    orders: deque[Order] = field(default_factory=deque)
    open: dict[Key, None] = field(default_factory=dict)
    command: Key | None = None
    lane: int = 0
    worker: WorkerGrant | None = None
    cards: tuple[str, ...] = ()
    ended: set[Key] = field(default_factory=set)
    record_of: dict[Key, int] = field(default_factory=dict)
    records: dict[int, int] = field(default_factory=dict)
    acked_records: list[int] = field(default_factory=list)
    acked_commands: list[list[object]] = field(default_factory=list)
    attach_at: int = 0
    descriptor: int = -1
    writes: bool = False

    @property
    def is_free(self) -> bool:
        """Tell whether it can be given an occupant; one of an older protocol gets none."""
        is_old = 0 < self.protocol < PROTOCOL
        return not (self.lane or self.command or self.open or self.orders or is_old)

    @property
    def is_settled(self) -> bool:
        """Tell whether everything that it was handed is answered and acknowledged."""
        return not (self.open or self.ended or self.record_of or self.orders)


class Crew:
    """Keep the runners; one descriptor is readable when any of them has something to say."""

    def __init__(
        self,
        runners_dir: Path,
        runtime: Path,
        *,
        idle_s: float,
        runners_max: int,
        unkillable_after_s: float = 60.0,
    ) -> None:
        self._runners_dir = runners_dir
        self._runtime = runtime
        self.idle_s = idle_s
        self.runners_max = runners_max
        self.unkillable_after_s = unkillable_after_s
        self._epoll = select.epoll()
        self._by_fd: dict[int, Seat] = {}
        self._acking: dict[Seat, None] = {}
        self.seats: list[Seat] = []
        self.gone: list[Seat] = []

    def fileno(self) -> int:
        return self._epoll.fileno()

    def take_over(self, directory: Path) -> Seat:
        """Count a runner that lives already as ours."""
        seat = Seat(directory, GrantsFile(directory))
        self.seats.append(seat)
        return seat

    def free_seat(self) -> Seat | None:
        """Return a runner without an occupant, a new one if need be; None at the limit.

        Raises OSError when no process can be started.
        """
        for seat in reversed(self.seats):
            if seat.is_free:
                return seat
        if len(self.seats) >= self.runners_max:
            return None
        directory = links.spawn(self._runners_dir, self._runtime, idle_s=self.idle_s)
        return self.take_over(directory)

    def tell(self, seat: Seat, order: Order) -> None:
        """Say something to a runner, at once or when it is ready.

        What its protocol does not have is dropped: an older runner would hang up on it.
        """
        if not seat.is_ready or seat.link is None:
            seat.orders.append(order)
            return
        if SINCE.get(type(order.message), 0) > seat.protocol:
            return
        for key in order.keys:
            seat.open[key] = None
        seat.link.send(order.message, order.fds)
        self._watch_writes(seat)

    def ask(self, seat: Seat) -> None:
        """Ask for a new Hello, because it is in doubt what a runner holds."""
        if seat.is_ready and seat.link is not None:
            seat.is_ready = False
            seat.link.send(Status())
            self._watch_writes(seat)

    def greet(self, seat: Seat, hello: Hello) -> None:
        """Say who we are, and what waited for a runner's Hello."""
        seat.is_ready = True
        seat.pid = hello.pid
        seat.protocol = min(PROTOCOL, max(hello.protocol, hello.newest))
        self.tell(seat, Order(Attach(PROTOCOL, self.unkillable_after_s)))
        orders, seat.orders = seat.orders, deque()
        for order in orders:
            self.tell(seat, order)

    def attach_due(self, now: int) -> None:
        """Connect to runners that have no link; those that are no more land in `gone`."""
        for seat in [seat for seat in self.seats if seat.link is None and now >= seat.attach_at]:
            try:
                seat.link = Link.attach(seat.directory)
            except LinkNotReady:
                seat.attach_at = now + ATTACH_AGAIN_NS
                continue
            except LinkGone:
                self.seats.remove(seat)
                seat.grants.close()
                self.gone.append(seat)
                continue
            seat.descriptor = seat.link.fileno()
            self._by_fd[seat.descriptor] = seat
            self._epoll.register(seat.descriptor, select.EPOLLIN)
            seat.writes = False

    def deadline(self) -> int | None:
        """Say when a link is to be tried again."""
        return min((seat.attach_at for seat in self.seats if seat.link is None), default=None)

    def hear(self) -> Iterable[tuple[Seat, Sequence[Message]]]:
        """Return what runners said, without blocking."""
        for descriptor, events in self._epoll.poll(0, EVENTS_MAX):
            seat = self._by_fd.get(descriptor)
            if seat is None or seat.link is None:
                continue
            if events & select.EPOLLOUT:
                seat.link.on_writable()
                self._watch_writes(seat)
            messages = seat.link.on_readable() if events & ~select.EPOLLOUT else []
            if messages:
                yield seat, messages
            self._look_if_closed(seat)

    def acknowledge(self, seat: Seat, key: Key) -> None:
        """Let a runner forget an answer, at the end of the turn."""
        record = seat.record_of.pop(key, None)
        if record is not None:
            left = seat.records[record] - 1
            if left:
                seat.records[record] = left
            else:
                del seat.records[record]
                seat.acked_records.append(record)
                self._acking[seat] = None
        elif key in seat.ended:
            seat.ended.discard(key)
            seat.acked_commands.append([key[0].hex(), key[1]])
            self._acking[seat] = None

    def flush(self) -> None:
        """Say the acknowledgements of this turn."""
        for seat in self._acking:
            self.tell(seat, Order(Ack(seat.acked_records, seat.acked_commands)))
            seat.acked_records, seat.acked_commands = [], []
            if seat.is_settled:
                seat.grants.renew(seat.worker)
        self._acking.clear()

    def close(self) -> None:
        """Leave the runners alone: they go on."""
        for seat in self.seats:
            if seat.link is not None:
                seat.link.close()
            seat.grants.close()
        self._epoll.close()

    def _look_if_closed(self, seat: Seat) -> bool:
        if seat.link is None or not seat.link.closed:
            return False
        # Closing a descriptor took it out of the epoll set.
        del self._by_fd[seat.descriptor]
        seat.link = None
        seat.is_ready = False
        seat.attach_at = 0
        return True

    def _watch_writes(self, seat: Seat) -> None:
        link = seat.link
        if self._look_if_closed(seat) or link is None or link.want_write == seat.writes:
            return
        seat.writes = link.want_write
        self._epoll.modify(link.fileno(), select.EPOLLIN | (select.EPOLLOUT if seat.writes else 0))
