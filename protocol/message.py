"""What every message is: a slotted dataclass with a number, and the limits that all obey.

Bodies travel as arrays in field order. Ids are 16 bytes. Fields named in `COLUMNS` are parallel
lists of one length. A `dict` field is a document: bounded in depth and counts by the codec, its
content checked by whoever reads it. The sender is its CURVE key and never a field.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar

BATCH_MAX = 10_000
PRUNE_MAX = 100
VALUE_BYTES_MAX = 64 * 1024
SOURCE_BYTES_MAX = 64 * 1024
OUTPUT_KEPT_BYTES = 64 * 1024
OUTPUT_CHUNK_BYTES = 256 * 1024
REFERENCES_MAX = 1_000
ASK_BYTES_MAX = 64 * 1024
"""Of the body of an AskTask."""
TAKEN_BACK = "taken_back"
"""The reason in a Kill by which a node hands back an attempt only if it has not started."""


class Message:
    """The root of all messages; `TYPE` is the number on the wire.

    `SINCE` is the protocol that brought the message, `ADDED` names its later fields with the
    protocol that brought each: they come last and have defaults, so that a peer of the version
    before leaves them out, and they are never columns.
    """

    __slots__ = ()
    TYPE: ClassVar[int]
    COLUMNS: ClassVar[tuple[str, ...]] = ()
    SINCE: ClassVar[int] = 1
    ADDED: ClassVar[dict[str, int]] = {}


class Phase(IntEnum):
    """Where an attempt is on its node."""

    QUEUED = 0
    RUNNING = 1
    ENDED = 2


class Outcome(IntEnum):
    """How an attempt ended.

    KILLED: stopped on the scheduler's word, the tree proven gone. RETURNED: never started, or
    taken back; nothing is charged.
    """

    SUCCEEDED = 0
    FAILED = 1
    KILLED = 2
    RETURNED = 3
