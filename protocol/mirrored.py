"""What stands in the Redis mirror: names of keys, and values that are checked and not believed.

Whatever the bytes, reading raises `NotUsable` and nothing else: the scheduler knows better.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgpack

from .ids import ID_BYTES, format_id, from_bytes, wall_ms_of

PREFIX = "remuda"
VALUE_BYTES_MAX = 4096
TEXT_CHARS_MAX = 255
ITEMS_MAX = 64
COUNT_MAX = (1 << 63) - 1
STATES = frozenset(
    {"waiting", "queued", "assigned", "running", "stopping", "succeeded", "failed", "cancelled"}
)


class NotUsable(Exception):  # noqa: N818 - a verdict on a value; it never leaves the reader
    """A value is missing, malformed, too old or from nowhere: ask the scheduler instead."""


class Revision(NamedTuple):
    """A state of the cluster: the run of the scheduler, and its turns that changed something."""

    epoch: int
    rev: int


class Head(NamedTuple):
    """What a mirror says of itself: all keys of `line` are as new as `rev` at least.

    A line is one unbroken sequence of writes of one epoch, in order, over one connection.
    """

    epoch: int
    line: int
    rev: int
    at_ms: int

    @property
    def revision(self) -> Revision:
        """Return up to where this mirror is complete."""
        return Revision(self.epoch, self.rev)


class MirroredTask(NamedTuple):
    """Where a task stood at `rev`; `ended_ms` is 0 while it has not ended."""

    epoch: int
    rev: int
    id: bytes
    state: str
    code: str
    attempt: int
    node: str
    created_ms: int
    ended_ms: int
    at_ms: int


def head_key(cluster_id: str) -> str:
    """Name the key that says which line of keys counts."""
    return f"{PREFIX}:{cluster_id}:head"


def line_prefix(cluster_id: str, epoch: int, line: int) -> str:
    """Name the beginning of all other keys of one line."""
    return f"{PREFIX}:{cluster_id}:{epoch}.{line}"


def task_key(prefix: str, task: bytes) -> str:
    """Name the key of a task: its id as a ULID, also for members of a batch."""
    return f"{prefix}:task:{format_id(from_bytes(task))}"


def node_key(prefix: str, name: str) -> str:
    """Name the key of a node."""
    return f"{prefix}:node:{name}"


def counts_key(prefix: str) -> str:
    """Name the key of the counts by state."""
    return f"{prefix}:counts"


def changes_key(prefix: str) -> str:
    """Name the stream of changes."""
    return f"{prefix}:changes"


def mark_key(prefix: str) -> str:
    """Name the key by which the writer sees that its line was not wiped."""
    return f"{prefix}:mark"


def created_ms(task: bytes) -> int:
    """Return when a task was made: its id says it."""
    return wall_ms_of(from_bytes(task))


def pack_value(fields: dict[str, Any]) -> bytes:
    """Write a value: a msgpack map with text keys."""
    blob: bytes = msgpack.packb(fields)
    return blob


def read_head(blob: bytes) -> Head:
    """Check what stands in the head; raises NotUsable."""
    fields = _unpacked(blob)
    return Head(*(_count(fields, name) for name in Head._fields))


def read_task(blob: bytes, task: bytes, head: Head, ceiling: Revision) -> MirroredTask:
    """Check the value of a task under a head; raises NotUsable.

    `ceiling` is a revision that the scheduler itself has told: nothing can be newer.
    """
    fields = _unpacked(blob)
    found = MirroredTask(
        epoch=_count(fields, "epoch"),
        rev=_count(fields, "rev"),
        id=fields.get("id", b""),
        state=_text(fields, "state"),
        code=_text(fields, "code"),
        attempt=_count(fields, "attempt"),
        node=_text(fields, "node"),
        created_ms=_count(fields, "created_ms"),
        ended_ms=_count(fields, "ended_ms"),
        at_ms=_count(fields, "at_ms"),
    )
    if type(found.id) is not bytes or len(found.id) != ID_BYTES or found.id != task:
        raise NotUsable("it is the value of another task")
    if found.state not in STATES:
        raise NotUsable("there is no such state")
    if found.epoch != head.epoch or found.epoch != ceiling.epoch:
        raise NotUsable("it is of another epoch")
    if found.rev > ceiling.rev:
        raise NotUsable("its revision is newer than the scheduler's own")
    return found


def check_head(head: Head, floor: Revision, ceiling: Revision) -> None:
    """Raise NotUsable unless a head is of the scheduler's epoch, not of its future, and new enough.

    `floor` is the oldest revision that the reader accepts.
    """
    if head.epoch != ceiling.epoch:
        raise NotUsable("the mirror is of another epoch")
    if head.rev > ceiling.rev:
        raise NotUsable("the mirror's revision is newer than the scheduler's own")
    if head.revision < floor:
        raise NotUsable("the mirror is older than what was asked for")


def _unpacked(blob: bytes) -> dict[Any, Any]:
    if not blob:
        raise NotUsable("it is missing")
    if len(blob) > VALUE_BYTES_MAX:
        raise NotUsable("it is too large")
    try:
        fields = msgpack.unpackb(
            blob,
            raw=False,
            strict_map_key=True,
            max_str_len=VALUE_BYTES_MAX,
            max_bin_len=VALUE_BYTES_MAX,
            max_array_len=ITEMS_MAX,
            max_map_len=ITEMS_MAX,
            max_ext_len=0,
        )
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise NotUsable("it is not msgpack") from error
    if type(fields) is not dict:
        raise NotUsable("it is not a map")
    return fields


def _count(fields: dict[Any, Any], name: str) -> int:
    value = fields.get(name)
    if type(value) is not int or not 0 <= value <= COUNT_MAX:
        raise NotUsable(f"{name} is no count")
    return value


def _text(fields: dict[Any, Any], name: str) -> str:
    value = fields.get(name)
    if type(value) is not str or len(value) > TEXT_CHARS_MAX:
        raise NotUsable(f"{name} is no short text")
    return value
