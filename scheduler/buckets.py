"""What waits for a place: queued tasks by bucket, so that a full shape is skipped whole."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ..protocol.resources import Request
from .fills import step
from .fleet import is_part
from .news import News
from .task import State, Task

Rank = tuple[int, int, int, int, int]
FIRST: Rank = (-1_000, 0, 0, 0, 0)
"""Before every task."""
WaitsForAnother = Callable[[Task], bool]
"""Tells whether a task waits for another node rather than go back to one that failed it."""
Pace = Callable[[Task], int]
"""Tells the order of a task's run time, above 0 where it is known (see `forecast.pace`)."""


def _unknown(_task: Task) -> int:
    return 0


@dataclass(frozen=True, slots=True)
class BucketKey:
    """Tasks of one key are interchangeable to placement.

    `avoid` names nodes that failed them; with `strict` they wait for another rather than go back.
    `pace` is about how long they run, as far as that was known when they were queued.
    """

    request: Request
    owner: str
    avoid: tuple[str, ...]
    strict: bool
    pace: int = 0


@dataclass(slots=True)
class Bucket:
    """Queued tasks of one key: a lane per priority, oldest first.

    `part_bytes` is the VRAM that they want of one card that may be shared, if that is what they
    want. `blocked_at` is the fleet revision at which no node had room. `ranked` is the head with
    its rank as it was when it became the head. A lane may hold tasks that were cancelled since:
    `head` drops them.
    """

    key: BucketKey
    waits_for_another: WaitsForAnother
    part_bytes: int = 0
    lanes: dict[int, deque[Task]] = field(default_factory=dict)
    blocked_at: int = -1
    ranked: tuple[Task, Rank] | None = None

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

    def is_too_large(self, news: News) -> bool:
        """Tell whether its tasks want more of one card than is free where anything changed.

        A card can have less than nothing free: what wants none of it is never too large.
        """
        if not self.part_bytes or self.key.avoid:
            return False
        return self.part_bytes > news.most_bytes(self.blocked_at)

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

    def __init__(
        self, waits_for_another: WaitsForAnother, window_ms: int = 0, pace: Pace = _unknown
    ) -> None:
        self._waits_for_another = waits_for_another
        self._window_ms = window_ms
        self._pace = pace
        self._buckets: dict[BucketKey, Bucket] = {}
        self._last: Bucket | None = None
        self._most_urgent: Task | None = None

    def put(self, task: Task, *, front: bool = False) -> None:
        """Queue a task; one that was taken out before goes back to its place by age."""
        priority = task.spec.policy.priority
        if self._most_urgent is not None and priority > self._most_urgent.spec.policy.priority:
            self._most_urgent = task
        lane = self._bucket_of(task).lanes.setdefault(priority, deque())
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
        strict, pace = bool(task.avoid) and self._waits_for_another(task), self._pace(task)
        if last is not None:
            key = last.key
            same_asks = key.request is spec.request and key.owner == spec.owner
            same_asks &= key.pace == pace
            if same_asks and key.avoid == task.avoid and key.strict == strict:
                return last
        key = BucketKey(spec.request, spec.owner, task.avoid, strict, pace)
        self._last = self._buckets.get(key)
        if self._last is None:
            part_bytes = spec.request.vram_bytes if is_part(spec.request) else 0
            self._last = Bucket(key, self._waits_for_another, part_bytes)
            self._buckets[key] = self._last
        return self._last

    def pass_over(self, news: News) -> None:
        """Block what wants more of one card than is free where anything changed: that is most."""
        revision = news.revision
        for bucket in self._buckets.values():
            if bucket.blocked_at != revision and bucket.is_too_large(news):
                bucket.blocked_at = revision

    def ready(self, revision: int) -> Iterator[Bucket]:
        """Yield the bucket whose head is next (see `rank`), until the caller stops.

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
            if task is not None and self.rank_in(bucket, task) == rank:
                yield bucket
            if bucket.blocked_at != revision:
                self._push(heap, order, bucket)

    def blocked(self, revision: int) -> list[Bucket]:
        """Return the buckets for which no node had room at a revision."""
        return [bucket for bucket in self._buckets.values() if bucket.blocked_at == revision]

    def beside(self, task: Task, gap: int, revision: int) -> list[tuple[int, Bucket]]:
        """Return with its size, smallest first, each bucket whose head may go into a gap instead of
        a task; of equal sizes that which is next.

        Both want a part of one card, and neither is before the other but for its size.
        """
        first = self.rank(task)[:2]
        found = []
        for order, bucket in enumerate(self._buckets.values()):
            size = bucket.part_bytes
            if not size or size > gap or bucket.blocked_at == revision or bucket.key.avoid:
                continue
            head = bucket.head()
            if head is not None:
                rank = self.rank_in(bucket, head)
                if rank[:2] == first:
                    found.append((size, rank, order, bucket))
        return [(size, bucket) for size, _, _, bucket in sorted(found)]

    def parts(self) -> Counter[int]:
        """Count what waits for a part of one card by step of size (see `fills.py`).

        What was cancelled and not dropped yet counts as well.
        """
        found: Counter[int] = Counter()
        for bucket in self._buckets.values():
            if bucket.part_bytes:
                found[step(bucket.part_bytes)] += sum(map(len, bucket.lanes.values()))
        return found

    def rank_in(self, bucket: Bucket, head: Task) -> Rank:
        """Return the rank of the head of a bucket, worked out once for each head."""
        if bucket.ranked is None or bucket.ranked[0] is not head:
            bucket.ranked = head, self.rank(head)
        return bucket.ranked[1]

    def rank(self, task: Task) -> Rank:
        """Say what decides when a task is next: priority, window of age, size, run time, age.

        Of tasks that were submitted within the same window those that want more of a card go
        first: what is small finds a place later too. Of those that want as much, the longest go
        first: what is short fills the end. No task is overtaken by one of a later window.
        """
        priority = -task.spec.policy.priority
        if not self._window_ms:
            return priority, 0, 0, 0, task.number
        window = task.created_ms // self._window_ms
        demand = _demand(task.spec.request)
        pace = max(self._pace(task), 0) if demand else 0
        return priority, window, -demand, -pace, task.number

    def count_of(self, handler: str) -> int:
        """Count the queued calls of a handler."""
        return sum(
            task.state is State.QUEUED
            for key, bucket in self._buckets.items()
            if key.request.handler == handler
            for lane in bucket.lanes.values()
            for task in lane
        )

    def most_urgent(self) -> Task | None:
        """Return a queued task of the highest priority; looked for once until it begins."""
        known = self._most_urgent
        if known is None or known.state is not State.QUEUED:
            known = max(self.heads(), key=lambda task: task.spec.policy.priority, default=None)
            self._most_urgent = known
        return known

    def heads(self) -> Iterator[Task]:
        """Yield the next task of each bucket, in no order."""
        for bucket in list(self._buckets.values()):
            task = bucket.head()
            if task is None:
                self._forget(bucket)
            else:
                yield task

    def _push(self, heap: list[tuple[Rank, int, Bucket]], order: int, bucket: Bucket) -> None:
        task = bucket.head()
        if task is None:
            self._forget(bucket)
        else:
            heapq.heappush(heap, (self.rank_in(bucket, task), order, bucket))

    def _forget(self, bucket: Bucket) -> None:
        if self._buckets.get(bucket.key) is bucket:
            del self._buckets[bucket.key]
        self._last = None


def _demand(request: Request) -> int:
    """Compare requests by what they take of cards: whole ones, then parts by their VRAM."""
    if request.gpus:
        return (request.gpus << 60) + request.vram_bytes
    return request.vram_bytes or request.gpu_milli
