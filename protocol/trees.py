"""What a tree is: the object that names the files of a folder, and how it is written and read.

A tree is msgpack: a list of [name, digest, size, kind], sorted by name, each name once. Names are
relative, with `/` between their parts, and never lead out of the folder.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import msgpack

from .claims import DIGEST_BYTES
from .errors import Invalid
from .store_messages import TREE_BYTES_MAX, TREE_ENTRIES_MAX

FILE, EXEC = "file", "exec"
KINDS = frozenset({FILE, EXEC})
NAME_BYTES_MAX = 1_024
SIZE_MAX = (1 << 63) - 1


class Entry(NamedTuple):
    """One file of a tree; `kind` is `file`, or `exec` for what may be executed."""

    name: str
    digest: bytes
    size: int
    kind: str


def pack_tree(entries: Iterable[Entry]) -> bytes:
    """Write a tree: the same files give the same bytes; raises Invalid for what is none."""
    rows = sorted(entries)
    _check(rows)
    blob: bytes = msgpack.packb(rows)
    if len(blob) > TREE_BYTES_MAX:
        raise Invalid(f"a tree has at most {TREE_BYTES_MAX} bytes, this one {len(blob)}")
    return blob


def unpack_tree(blob: bytes) -> list[Entry]:
    """Read a tree that anybody may have written; raises Invalid for what is none."""
    if len(blob) > TREE_BYTES_MAX:
        raise Invalid(f"a tree has at most {TREE_BYTES_MAX} bytes, this one {len(blob)}")
    try:
        rows = msgpack.unpackb(
            blob,
            raw=False,
            max_array_len=min(TREE_ENTRIES_MAX, len(blob)),
            max_str_len=NAME_BYTES_MAX,
            max_bin_len=DIGEST_BYTES,
            max_map_len=0,
            max_ext_len=0,
        )
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise Invalid(f"this is no tree: {type(error).__name__}") from error
    if type(rows) is not list or not all(map(_is_row, rows)):
        raise Invalid("a tree is a list of [name, digest, size, kind]")
    entries = [Entry(*row) for row in rows]
    _check(entries)
    return entries


def check_name(name: str) -> str:
    """Return a name that stays inside its folder; raises Invalid for others."""
    parts = name.split("/")
    if not name.isprintable() or any(part in ("", ".", "..") for part in parts) or "\\" in name:
        raise Invalid(f"{name!r}: a name is relative, without '..', '\\' or empty parts")
    if len(name.encode()) > NAME_BYTES_MAX:
        raise Invalid(f"{name[:40]!r}...: a name has at most {NAME_BYTES_MAX} bytes")
    return name


def _is_row(row: Any) -> bool:
    return (
        type(row) is list
        and [str, bytes, int, str] == [type(each) for each in row]
        and len(row[1]) == DIGEST_BYTES
        and 0 <= row[2] <= SIZE_MAX
        and row[3] in KINDS
    )


def _check(entries: list[Entry]) -> None:
    """Raise Invalid unless these are the files of one folder, in order."""
    if len(entries) > TREE_ENTRIES_MAX:
        raise Invalid(f"a tree has at most {TREE_ENTRIES_MAX} files, this one {len(entries)}")
    names = [check_name(entry.name) for entry in entries]
    if any(left >= right for left, right in pairwise(names)):
        raise Invalid("the names of a tree are sorted, each is there once")
    known = set(names)
    for name in names:
        folder = name.rpartition("/")[0]
        while folder:
            if folder in known:
                raise Invalid(f"{folder!r} is a file and a folder at the same time")
            folder = folder.rpartition("/")[0]
