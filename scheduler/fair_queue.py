"""Whose request is next: one of each key in turn, so that a flood waits behind its own."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable

from .wire import Request

# Beyond this the control socket is left alone, and its own bounds push back on the senders.
WAITING_MAX = 2_048
WAITING_BYTES_MAX = 64 * 1024 * 1024


class FairQueue:
    """Requests that wait for their turn, in order for each key."""

    def __init__(self) -> None:
        self._queues: OrderedDict[str, deque[Request]] = OrderedDict()
        self._length = 0
        self._bytes = 0

    def __len__(self) -> int:
        return self._length

    @property
    def is_full(self) -> bool:
        return self._length >= WAITING_MAX or self._bytes >= WAITING_BYTES_MAX

    def add(self, requests: Iterable[Request]) -> None:
        for request in requests:
            self._queue_of(request).append(request)
            self._count(request, 1)

    def put_back(self, requests: list[Request]) -> None:
        """Put requests before all others of their keys, keeping their order."""
        for request in reversed(requests):
            self._queue_of(request).appendleft(request)
            self._count(request, 1)

    def pop(self) -> Request:
        """Take the next request; its key then waits until all others had their turn."""
        name, queue = next(iter(self._queues.items()))
        request = queue.popleft()
        self._count(request, -1)
        if queue:
            self._queues.move_to_end(name)
        else:
            del self._queues[name]
        return request

    def _count(self, request: Request, sign: int) -> None:
        self._length += sign
        self._bytes += sign * len(request.payload)

    def _queue_of(self, request: Request) -> deque[Request]:
        name = request.principal.name if request.principal else ""
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = deque()
        return queue
