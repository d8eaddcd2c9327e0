"""Where do tasks stand, by the Redis mirror as far as it can be used, else by the scheduler?"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..protocol import mirrored
from ..protocol.errors import Invalid
from ..protocol.messages import Changes, States
from ..protocol.mirrored import Head, MirroredTask, NotUsable, Revision
from . import control
from .connection import Connection

if TYPE_CHECKING:
    from redis import Redis

TIMEOUT_S = 0.1
PAUSE_S_MIN, PAUSE_S_MAX = 0.5, 30.0
KEYS_PER_TRIP = 1_000
NOTHING = Revision(0, 0)


class CachedState(NamedTuple):
    """Where a task stood; `cached` tells whether the mirror said it, and `revision` as of when.

    What the scheduler said itself has the revision (0, 0): it is as new as it can be.
    """

    task: bytes
    state: str
    code: str
    attempt: int
    node: str
    cached: bool
    revision: Revision = NOTHING


def cached_states(
    link: Connection,
    mirror: Mirror | None,
    tasks: Sequence[bytes],
    min_rev: tuple[int, int] | None = None,
) -> list[CachedState]:
    """Say where tasks stand, in their order; one request asks for all that the mirror left out."""
    found = mirror.read(tasks, min_rev) if mirror else {}
    states = {
        key: CachedState(key, known.state, known.code, known.attempt, known.node, cached=True,
                         revision=Revision(known.epoch, known.rev))
        for key, known in found.items()
    }  # fmt: skip
    rest = [task for task in tasks if task not in found]
    for told in control.states(link, rest) if rest else ():
        states[told.task] = CachedState(
            told.task, told.state, told.code, told.attempt, told.node, cached=False
        )
    return [states[task] for task in tasks]


class Mirror:
    """Reads the mirror of one cluster; whatever is wrong with it, the answer is only "unknown".

    Nothing is read whole that could be large, no value is believed that fails a check, and after
    a failure the server is left alone for a while.
    """

    def __init__(
        self,
        link: Connection,
        url: str,
        heard: Callable[[], Revision],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._link = link
        self._redis = _dial(url)
        self._heard = heard
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._ceiling = NOTHING
        self._cluster_id = ""
        self._pause_s = 0.0
        self._pause_ends_s = 0.0

    def read(
        self, tasks: Sequence[bytes], min_rev: tuple[int, int] | None = None
    ) -> dict[bytes, MirroredTask]:
        """Return what the mirror may be believed of tasks; the others are left out.

        Unless told otherwise nothing is older than what this client has heard by now, the call
        before included. Asks the scheduler for its revision at first, and whenever the mirror has
        a newer one than any heard so far.
        """
        if not tasks or self._clock_s() < self._pause_ends_s:
            return {}
        try:
            found = self._read(tasks, min_rev)
        except NotUsable:
            return {}
        except Unavailable:
            self._pause_s = min(max(2 * self._pause_s, PAUSE_S_MIN), PAUSE_S_MAX)
            self._pause_ends_s = self._clock_s() + self._pause_s
            return {}
        self._pause_s = 0.0
        return found

    def close(self) -> None:
        """Hang up."""
        self._redis.close()

    def _read(
        self, tasks: Sequence[bytes], min_rev: tuple[int, int] | None
    ) -> dict[bytes, MirroredTask]:
        floor = self._newest_heard() if min_rev is None else Revision(*min_rev)
        key = mirrored.head_key(self._find_cluster_id())
        head = mirrored.read_head(_bytes(self._peek([key])[0]))
        ceiling = self._ceiling_for(max(head.revision, floor))
        mirrored.check_head(head, floor, ceiling)
        prefix = mirrored.line_prefix(self._cluster_id, head.epoch, head.line)
        found = {}
        for start in range(0, len(tasks), KEYS_PER_TRIP):
            some = tasks[start : start + KEYS_PER_TRIP]
            values = self._peek([mirrored.task_key(prefix, task) for task in some])
            for task, value in zip(some, values, strict=True):
                if (usable := _usable(value, task, head, ceiling)) is not None:
                    found[task] = usable
        return found

    def _newest_heard(self) -> Revision:
        """Return what this client knows to have been; one that never heard of any asks."""
        known = max(self._heard(), self._ceiling)
        return known if known > NOTHING else self._ceiling_for(Revision(0, 1))

    def _find_cluster_id(self) -> str:
        if not self._cluster_id:
            known = control.status(self._link).get("redis", {})
            if not known.get("cluster_id"):
                raise Unavailable("the scheduler has no mirror")
            self._cluster_id = str(known["cluster_id"])
        return self._cluster_id

    def _ceiling_for(self, wanted: Revision) -> Revision:
        """Return a revision of the scheduler's own, asked anew if what we know is too old."""
        with self._lock:
            self._ceiling = max(self._ceiling, self._heard())
            if self._ceiling < wanted:
                answer = self._link.request(States([]), Changes)
                self._ceiling = max(self._ceiling, Revision(answer.epoch, answer.rev))
            return self._ceiling

    def _peek(self, keys: Sequence[str]) -> list[Any]:
        """Read the first bytes of keys: enough to know a value, too few for a large one to hurt."""
        import redis

        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                for key in keys:
                    pipeline.getrange(key, 0, mirrored.VALUE_BYTES_MAX)
                replies: list[Any] = pipeline.execute(raise_on_error=False)
        except (redis.RedisError, OSError, ValueError) as error:
            raise Unavailable(str(error)) from error
        return replies


class Unavailable(Exception):  # noqa: N818 - it never leaves the reader
    """The server is away, too slow, or not ours to read."""


def _usable(value: Any, task: bytes, head: Head, ceiling: Revision) -> MirroredTask | None:
    try:
        return mirrored.read_task(_bytes(value), task, head, ceiling)
    except NotUsable:
        return None


def _bytes(reply: Any) -> bytes:
    if not isinstance(reply, bytes):  # an error: the key holds another type, or may not be read
        raise NotUsable("it is not text")
    return reply


def _dial(url: str) -> Redis:
    """Prepare a client of the server, which dials at the first read; raises Invalid."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    try:
        return redis.Redis.from_url(
            url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
    except ValueError:  # whose text may quote a part of the password
        message = "redis: not a URL of a server: write it like redis://host:6379/0"
        raise Invalid(message, field="redis") from None
