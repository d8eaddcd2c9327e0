"""How tasks and batches are named: ULIDs as 128-bit integers, members of a batch by offset."""

from __future__ import annotations

import re

ID_BYTES = 16
ID_END = 1 << 8 * ID_BYTES
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUE = {letter: value for value, letter in enumerate(_ALPHABET)}
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
_MEMBER = re.compile(r"([0-7][0-9A-HJKMNP-TV-Z]{25})\.([0-9]{1,9})")
BATCH_MEMBERS_MAX = 1 << 32


def new_id(wall_ms: int, random_80: int) -> int:
    """Make a ULID from the wall clock in milliseconds and 80 random bits, both handed in."""
    return (wall_ms & ((1 << 48) - 1)) << 80 | random_80 & ((1 << 80) - 1)


def to_bytes(task_id: int) -> bytes:
    return task_id.to_bytes(ID_BYTES, "big")


def from_bytes(blob: bytes) -> int:
    """Read an id from its 16 bytes; raise ValueError for any other length."""
    if len(blob) != ID_BYTES:
        raise ValueError(f"an id has {ID_BYTES} bytes, not {len(blob)}")
    return int.from_bytes(blob, "big")


def member(batch_id: int, index: int) -> int:
    """Name member `index` (from 0) of a batch."""
    return batch_id + 1 + index


def format_id(task_id: int, batch_id: int = 0) -> str:
    """Write an id as a ULID, or as `ULID.index` when it is a member of `batch_id`."""
    if batch_id:
        return f"{format_id(batch_id)}.{task_id - batch_id - 1}"
    return "".join(_ALPHABET[task_id >> shift & 31] for shift in range(125, -1, -5))


def parse_id(text: str) -> int:
    """Read `ULID` or `ULID.index`; raise ValueError for anything else."""
    upper = text.upper()
    if match := _MEMBER.fullmatch(upper):
        found = member(parse_id(match[1]), int(match[2]))
        if found < ID_END:
            return found
    if not _ULID.fullmatch(upper):
        raise ValueError(f"{text!r} is not an id: expected 26 letters and digits, or ID.INDEX")
    value = 0
    for letter in upper:
        value = value << 5 | _VALUE[letter]
    return value


def wall_ms_of(task_id: int) -> int:
    """Return the creation time that an id carries, in milliseconds of the Unix epoch."""
    return task_id >> 80
