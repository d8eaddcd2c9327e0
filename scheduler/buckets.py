"""What waits for a place: queued tasks by bucket, so that a full shape is skipped whole."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ..protocol.resources import Request
from .task import State, Task

Rank = tuple[int, int, int, int]
WaitsForAnother = Callable[[Task], bool]
"""Tells whether a task waits for another node rather than go back to one that failed it."""


@dataclass(frozen=True, slots=True)
class BucketKey:
    """Tasks of one key are interchangeable to placement.

    `avoid` names nodes that failed them; with `strict` they wait for another rather than go back.
    """

    request: Request
    owner: str
    avoid: tuple[str, ...]
    strict: bool


@dataclass(slots=True)
class Bucket:
    """Queued tasks of one key: a lane per priority, oldest first.

    `blocked_at` is the fleet revision at which no node had room. A lane may hold tasks that were
    cancelled since: `head` drops them.
    """

    key: BucketKey
    waits_for_another: WaitsForAnother
    lanes: dict[int, deque[Task]] = field(default_factory=dict)
    blocked_at: int = -1

    def head(self) -> Task | None:
        """Return the next task without taking it."""
        while self.lanes:
            priority = max(self.lanes)
            lane = self.lanes[priority]
            while lane:
                task = lane[0]
                if task.state is State.QUEUED and self._has(task):
                    return task
                lane.popleft()
            del self.lanes[priority]
        return None

    def _has(self, task: Task) -> bool:
        """Tell whether a task still belongs here: a failed try may have changed what it asks."""
        key = self.key
        request = task.spec.request
        # Equal requests are mostly one object, and to compare all fields is dear.
        if task.avoid != key.avoid or (request is not key.request and request != key.request):
            return False
        return not task.avoid or self.waits_for_another(task) == key.strict

    def pop(self) -> None:
        """Take the task that `head` returned."""
        self.lanes[max(self.lanes)].popleft()


class Buckets:
    """All queued tasks."""

    def __init__(self, waits_for_another: WaitsForAnother, window_ms: int = 0) -> None:
        self._waits_for_another = waits_for_another
        self._window_ms = window_ms
        self._buckets: dict[BucketKey, Bucket] = {}
        self._last: Bucket | None = None

    def put(self, task: Task, *, front: bool = False) -> None:
        """Queue a task; one that was taken out before goes back to its place by age."""
        bucket = self._bucket_of(task)
        lane = bucket.lanes.setdefault(task.spec.policy.priority, deque())
        if not front:
            lane.append(task)
            return
        at = 0
        while at < len(lane) and lane[at].number < task.number:
            at += 1
        lane.insert(at, task)

    def _bucket_of(self, task: Task) -> Bucket:
        """Return a task's bucket: mostly that of the task before, which spares to hash its key."""
        spec, last = task.spec, self._last
        strict = bool(task.avoid) and self._waits_for_another(task)
        if last is not None:
            key = last.key
            same_asks = key.request is spec.request and key.owner == spec.owner
            if same_asks and key.avoid == task.avoid and key.strict == strict:
                return last
        key = BucketKey(spec.request, spec.owner, task.avoid, strict)
        self._last = self._buckets.get(key)
        if self._last is None:
            self._last = self._buckets[key] = Bucket(key, self._waits_for_another)
        return self._last

    def ready(self, revision: int) -> Iterator[Bucket]:
        """Yield the bucket whose head is next (see `_rank`), until the caller stops.

        The caller takes the head (`pop`), or sets `blocked_at` to have the bucket skipped while
        the fleet stays at `revision`. It may also take the head of another bucket.
        """
        heap: list[tuple[Rank, int, Bucket]] = []
        for order, bucket in enumerate(list(self._buckets.values())):
            if bucket.blocked_at != revision:
                self._push(heap, order, bucket)
        while heap:
            rank, order, bucket = heapq.heappop(heap)
            task = bucket.head()
            if task is not None and self._rank(task) == rank:
                yield bucket
            if bucket.blocked_at != revision:
                self._push(heap, order, bucket)

    def beside(self, task: Task, revision: int) -> list[tuple[int, Bucket]]:
        """Return with its size, smallest first, each bucket whose head may go instead of a task.

        Both want a part of one card, and neither is before the other but for its size.
        """
        rank = self._rank(task)[:2]
        found = []
        for order, bucket in enumerate(self._buckets.values()):
            head = bucket.head() if bucket.blocked_at != revision else None
            size = bucket.key.request.vram_bytes
            if head is None or not is_part(bucket.key.request) or bucket.key.avoid:
                continue
            if self._rank(head)[:2] == rank:
                found.append((size, order, bucket))
        return [(size, bucket) for size, _, bucket in sorted(found)]

    def _rank(self, task: Task) -> Rank:
        """Say what decides when a task is next: priority, window of age, size, age.

        Of tasks that were submitted within the same window those that want more of a card go
        first: what is small finds a place later too. No task is overtaken by one of a later window.
        """
        priority = -task.spec.policy.priority
        if not self._window_ms:
            return priority, 0, 0, task.number
        window = task.created_ms // self._window_ms
        return priority, window, -_demand(task.spec.request), task.number

    def heads(self) -> Iterator[Task]:
        """Yield the next task of each bucket, in no order."""
        for bucket in list(self._buckets.values()):
            task = bucket.head()
            if task is not None:
                yield task

    def _push(self, heap: list[tuple[Rank, int, Bucket]], order: int, bucket: Bucket) -> None:
        task = bucket.head()
        if task is None:
            del self._buckets[bucket.key]
            self._last = None
        else:
            heapq.heappush(heap, (self._rank(task), order, bucket))


def is_part(request: Request) -> bool:
    """Tell whether a request wants so much VRAM of one card that may be shared."""
    return bool(request.vram_bytes) and not (request.gpus or request.others or request.handler)


def _demand(request: Request) -> int:
    """Compare requests by what they take of cards: whole ones, then parts by their VRAM."""
    if request.gpus:
        return (request.gpus << 60) + request.vram_bytes
    return request.vram_bytes or request.gpu_milli
