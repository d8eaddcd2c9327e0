"""Which descriptors are ready, and who handles them."""

from __future__ import annotations

import select
from collections.abc import Callable
from dataclasses import dataclass

EVENTS_MAX = 64


@dataclass(eq=False, slots=True)
class Watch:
    """One descriptor and its handlers; compared by identity, since numbers are reused."""

    fd: int
    on_read: Callable[[], None]
    on_write: Callable[[], None] | None
    first: bool


class Poller:
    """An epoll set that never hands an event to a descriptor's later owner."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watches: dict[int, Watch] = {}

    def add(
        self,
        fd: int,
        on_read: Callable[[], None],
        on_write: Callable[[], None] | None = None,
        *,
        first: bool = False,
    ) -> None:
        """Watch `fd`; `first` handlers run before the others of the same batch."""
        self._watches[fd] = Watch(fd, on_read, on_write, first)
        self._epoll.register(fd, select.EPOLLIN)

    def want_write(self, fd: int, *, wanted: bool) -> None:
        """Ask for, or no longer for, writability of `fd`."""
        if fd in self._watches:
            self._epoll.modify(fd, select.EPOLLIN | (select.EPOLLOUT if wanted else 0))

    def remove(self, fd: int) -> None:
        """Stop watching `fd`; call it before the descriptor is closed."""
        if self._watches.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def poll(self, timeout_s: float | None) -> None:
        """Wait for events, at most `timeout_s`, and run their handlers."""
        ready = [
            (self._watches[fd], events)
            for fd, events in self._epoll.poll(timeout_s, EVENTS_MAX)
            if fd in self._watches
        ]
        ready.sort(key=lambda pair: not pair[0].first)
        for watch, events in ready:
            if events & ~select.EPOLLOUT and self._watches.get(watch.fd) is watch:
                watch.on_read()
            if (
                events & select.EPOLLOUT
                and watch.on_write is not None
                and self._watches.get(watch.fd) is watch
            ):
                watch.on_write()
