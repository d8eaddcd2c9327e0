"""May an object be put: is it small enough, and is there room for it? Decided before bytes move."""

from __future__ import annotations

from dataclasses import dataclass

from ..protocol.errors import DiskFull, QueueFull, ValueTooLarge
from ..protocol.resources import format_bytes

QUOTA_RETRY_S = 60.0
DISK_RETRY_S = 30.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the store takes in, in bytes."""

    object_bytes_max: int
    quota_bytes: int
    user_quota_bytes: int
    disk_free_bytes_min: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What is kept and what was promised to transfers under way, in bytes.

    `unwritten_bytes` is the part of the promises that is not on the disk yet.
    """

    stored_bytes: int
    promised_bytes: int
    user_bytes: int
    unwritten_bytes: int
    free_bytes: int


def check_size(limits: Limits, size: int) -> None:
    """Raise ValueTooLarge for an object over the limit."""
    if size > limits.object_bytes_max:
        raise ValueTooLarge(
            f"the object has {format_bytes(size)}, the store takes at most "
            f"{format_bytes(limits.object_bytes_max)} ([store] max_object)",
            field="size",
        )


def check_room(limits: Limits, usage: Usage, size: int, *, is_user: bool) -> None:
    """Raise QueueFull over a quota, or DiskFull below the floor of the disk.

    `user_quota` is for people: what nodes put belongs to the tasks of many.
    """
    if usage.stored_bytes + usage.promised_bytes + size > limits.quota_bytes:
        raise QueueFull(
            f"the store is full: {format_bytes(usage.stored_bytes + usage.promised_bytes)} of "
            f"{format_bytes(limits.quota_bytes)} are taken ([store] quota): prune tasks that have "
            "ended, or raise it",
            retry_after_s=QUOTA_RETRY_S,
        )
    if is_user and usage.user_bytes + size > limits.user_quota_bytes:
        raise QueueFull(
            f"your objects take {format_bytes(usage.user_bytes)} of "
            f"{format_bytes(limits.user_quota_bytes)} ([store] user_quota): prune tasks of yours "
            "that have ended",
            retry_after_s=QUOTA_RETRY_S,
        )
    if usage.free_bytes - usage.unwritten_bytes - size < limits.disk_free_bytes_min:
        raise DiskFull(
            f"the disk of the store has {format_bytes(usage.free_bytes)} free, and "
            f"{format_bytes(limits.disk_free_bytes_min)} are kept ([store] disk_free_min)",
            retry_after_s=DISK_RETRY_S,
        )
