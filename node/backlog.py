"""Which attempts wait on this node for a slot or a worker, and whose turn is it?"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ..protocol.messages import Phase
from .slots import Charge
from .task import Attempt

ARGS_BYTES_MAX = 1 << 20  # handed to one worker at a time


@dataclass(slots=True)
class Bucket:
    """Attempts that any of the same workers can run for the same charge, in order of arrival."""

    priority: int
    pool: str
    charge: Charge
    waiting: deque[Attempt] = field(default_factory=deque)

    def head(self) -> Attempt | None:
        """Return the first that still waits, dropping those that were ended meanwhile."""
        waiting = self.waiting
        while waiting:
            attempt = waiting[0]
            if attempt.phase == Phase.QUEUED and not attempt.handed:
                return attempt
            waiting.popleft()
        return None

    def pop(self, number: int) -> list[Attempt]:
        """Take up to so many from the front, and no more than fit a frame to a runner.

        One that is to run alone is taken alone.
        """
        taken: list[Attempt] = []
        left = ARGS_BYTES_MAX
        while len(taken) < number and left > 0 and (attempt := self.head()) is not None:
            if taken and (attempt.alone or taken[0].alone):
                break
            self.waiting.popleft()
            taken.append(attempt)
            left -= len(attempt.args)
        return taken


@dataclass(slots=True)
class Backlog:
    """The node's own queue, in buckets."""

    buckets: dict[tuple[int, str, Charge], Bucket] = field(default_factory=dict)

    def add(self, attempt: Attempt) -> None:
        """Queue behind those of the same kind."""
        self._bucket(attempt).waiting.append(attempt)

    def put_back(self, attempt: Attempt) -> None:
        """Queue in front: it came back from a worker that did not run it."""
        self._bucket(attempt).waiting.appendleft(attempt)

    def _bucket(self, attempt: Attempt) -> Bucket:
        plan = attempt.plan
        key = (plan.spec.priority, plan.pool, attempt.charge)
        bucket = self.buckets.get(key)
        if bucket is None:
            bucket = self.buckets[key] = Bucket(*key)
        return bucket

    def in_turn(self) -> list[Bucket]:
        """Return the buckets with something in them: by priority, then by arrival."""
        if not self.buckets:
            return []
        heads = [(bucket, bucket.head()) for bucket in self.buckets.values()]
        for bucket, head in heads:
            if head is None:
                del self.buckets[bucket.priority, bucket.pool, bucket.charge]
        alive = [(-bucket.priority, head.seq, bucket) for bucket, head in heads if head is not None]
        alive.sort(key=lambda entry: entry[:2])
        return [bucket for _, _, bucket in alive]

    def of_pool(self, pool: str) -> list[Attempt]:
        """Return all that wait for one kind of worker."""
        return [
            attempt
            for bucket in self.buckets.values()
            if bucket.pool == pool
            for attempt in bucket.waiting
            if attempt.phase == Phase.QUEUED and not attempt.handed
        ]
