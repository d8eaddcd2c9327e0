"""How is a value laid out that is too large for a message: packed data, and its buffers beside it?

Such a value is an object of the store, named by the SHA-256 of these bytes: a head, the place of
each buffer, the packed value, and the buffers, each from a multiple of 64 on. A reader maps the
file: an array is a view of it, nothing is copied.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import pathlib
import struct
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

BUFFER_BYTES_MIN = 64 << 10
"""Smaller buffers stay in the packed value."""
PARTS_LOOKED_AT_MAX = 100_000
"""How many parts of a value are searched for large buffers; one beyond is packed with the rest."""
ALIGNMENT = 64
MAPPED_BYTES_MIN = 1 << 20
_MAGIC = b"remuda\x00\x01"
_HEAD = struct.Struct("<8sQQ")
_PLACE = struct.Struct("<QQ")
_REF = struct.Struct(">32sQ")
_PADDING = bytes(ALIGNMENT)


class Buffer:
    """Stands in a value for bytes that lie beside it."""

    __slots__ = ("view",)

    def __init__(self, view: memoryview) -> None:
        self.view = view


class Stored(NamedTuple):
    """Stands in a value for another one that is an object of the store; `pieces` are its bytes."""

    digest: bytes
    size: int
    pieces: Sequence[bytes | memoryview] = ()


class Parcel(NamedTuple):
    """An encoded value: what travels in a message, and the large values that it names."""

    body: bytes
    stored: Sequence[Stored] = ()


def lay_out(blob: bytes, buffers: Sequence[memoryview]) -> Stored:
    """Put a packed value and its buffers into one object."""
    at = _HEAD.size + len(buffers) * _PLACE.size + len(blob)
    head = [_HEAD.pack(_MAGIC, len(blob), len(buffers))]
    tail: list[bytes | memoryview] = [blob]
    for view in buffers:
        padding = -at % ALIGNMENT
        tail += [_PADDING[:padding], view]
        head.append(_PLACE.pack(at + padding, view.nbytes))
        at += padding + view.nbytes
    pieces = [b"".join(head), *tail]
    return Stored(_digest(pieces), at, pieces)


def take_apart(view: memoryview) -> tuple[memoryview, list[memoryview]]:
    """Return the packed value of an object, and its buffers; raises ValueError for any other."""
    if view.nbytes < _HEAD.size:
        raise ValueError("no stored value: it is too short")
    magic, length, number = _HEAD.unpack_from(view)
    start = _HEAD.size + number * _PLACE.size
    if magic != _MAGIC or start + length > view.nbytes:
        raise ValueError("no stored value, or one of a newer remuda")
    buffers = []
    for at, size in _PLACE.iter_unpack(view[_HEAD.size : start]):
        if at + size > view.nbytes:
            raise ValueError("a stored value that was cut")
        buffers.append(view[at : at + size])
    return view[start : start + length], buffers


def map_file(path: pathlib.Path) -> memoryview:
    """Return the bytes of a file, without reading a large one; what is written stays private."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < MAPPED_BYTES_MIN:
            return memoryview(bytearray(file.read()))
        return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY))


def name(stored: Stored) -> bytes:
    """Write digest and size of an object, as a value that names it holds them."""
    return _REF.pack(stored.digest, stored.size)


def read_name(body: bytes) -> Stored:
    """Read what `name` wrote; raises struct.error."""
    return Stored(*_REF.unpack(body))


def lift(value: object) -> object:
    """Return a value with a Buffer for all large bytes in its lists, tuples and dictionaries."""
    return _lifted(value) if _has_large(value) else value


def _has_large(value: object) -> bool:
    """Say whether a search, as far as it goes, finds large bytes."""
    if type(value) not in (list, dict, tuple):
        return _is_large(value)
    level: list[Any] = [value]
    seen = 0
    while level:
        inner = []
        for outer in level:
            parts: Iterable[object] = outer.values() if type(outer) is dict else outer
            seen += len(outer)
            if seen > PARTS_LOOKED_AT_MAX:
                return False
            for part in parts:
                kind = type(part)
                if kind is bytes or kind is bytearray or kind is memoryview:
                    if _is_large(part):
                        return True
                elif kind is list or kind is dict or kind is tuple:
                    inner.append(part)
        level = inner
    return False


def _is_large(part: Any) -> bool:
    kind = type(part)
    if kind is memoryview:
        return bool(part.nbytes > BUFFER_BYTES_MIN and part.c_contiguous)
    return kind in (bytes, bytearray) and len(part) > BUFFER_BYTES_MIN


def _lifted(value: Any) -> Any:
    kind = type(value)
    if kind is list or kind is tuple:
        return kind(map(_lifted, value))
    if kind is dict:
        return {key: _lifted(part) for key, part in value.items()}
    return Buffer(memoryview(value).cast("B")) if _is_large(value) else value


def _digest(pieces: Iterable[bytes | memoryview]) -> bytes:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.digest()
