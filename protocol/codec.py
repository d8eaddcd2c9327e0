"""How a message becomes one frame and back: msgpack `[version, type, epoch, body]`.

A version accepts the one before it, so that a cluster is upgraded host by host: fields that were
added since come last in a body and are left out for a peer that does not know them.

Size is checked before anything is decoded; counts while decoding; types, column lengths and
the depth of documents right after. Whatever the bytes, decoding raises `MalformedFrame`,
`UnknownMessage` or `ForeignProtocol` and nothing else.
"""

from __future__ import annotations

import dataclasses
import operator
import typing
from collections.abc import Callable
from typing import Any, NamedTuple

import msgpack

from .errors import ForeignProtocol, MalformedFrame, UnknownMessage
from .messages import MESSAGES, Message

VERSION = 5
VERSION_OLDEST = 1
FRAME_BYTES_MAX = 4 * 1024 * 1024
ARRAY_MAX = 20_000
MAP_MAX = 4_096
DEPTH_MAX = 32
INT_MAX = (1 << 63) - 1


class Frame(NamedTuple):
    """A decoded frame: the sender's epoch, the message, and the version that it was written in."""

    epoch: int
    message: Message
    version: int = VERSION


def encode(message: Message, epoch: int, version: int = VERSION) -> bytes:
    """Write one frame for a peer that speaks `version`.

    Raises ValueError when it would exceed the frame limit, or when that version has no such
    message (see `is_spoken`).
    """
    if not is_spoken(type(message), version):
        raise ValueError(f"protocol {version} has no {type(message).__name__}")
    body = _LAYOUTS[message.TYPE].written(message, version)
    frame: bytes = msgpack.packb((version, message.TYPE, epoch, body))
    if len(frame) > FRAME_BYTES_MAX:
        raise ValueError(
            f"a {type(message).__name__} frame of {len(frame)} bytes exceeds {FRAME_BYTES_MAX}"
        )
    return frame


def is_spoken(kind: type[Message], version: int) -> bool:
    """Tell whether a version of the protocol has a message."""
    return VERSION_OLDEST <= version <= VERSION and version >= kind.SINCE


def common_version(lowest: int, highest: int) -> int:
    """Return the newest version that both sides speak; raises ForeignProtocol when none is."""
    if lowest <= min(highest, VERSION) and highest >= VERSION_OLDEST:
        return min(highest, VERSION)
    raise ForeignProtocol(
        f"the node speaks protocol {lowest} to {highest}, the scheduler {VERSION_OLDEST} to "
        f"{VERSION}: upgrade the older one"
    )


def decode(frame: bytes) -> Frame:
    """Read one frame.

    Raises MalformedFrame, UnknownMessage or ForeignProtocol.
    """
    if len(frame) > FRAME_BYTES_MAX:
        raise MalformedFrame(f"a frame of {len(frame)} bytes exceeds {FRAME_BYTES_MAX}")
    envelope = _unpack(frame)
    if type(envelope) is not list or len(envelope) != 4:
        raise MalformedFrame("a frame is an array of version, type, epoch and body")
    version, kind, epoch, body = envelope
    if type(version) is not int or type(kind) is not int or not _is_count(epoch):
        raise MalformedFrame("version, type and epoch are whole numbers")
    if not VERSION_OLDEST <= version <= VERSION:
        raise ForeignProtocol(
            f"protocol {version} is not spoken here: this side speaks {VERSION_OLDEST} to {VERSION}"
        )
    layout = _LAYOUTS.get(kind)
    if layout is None or version < layout.kind.SINCE:
        raise UnknownMessage(f"message type {kind} is unknown in protocol {version}")
    return Frame(epoch, layout.build(body, version), version)


def pack_document(document: dict[str, Any]) -> bytes:
    """Encode a free-form document (specs, details) on its own."""
    blob: bytes = msgpack.packb(document)
    return blob


def unpack_document(blob: bytes) -> dict[str, Any]:
    """Decode what `pack_document` wrote; raise MalformedFrame for anything else."""
    if len(blob) > FRAME_BYTES_MAX:
        raise MalformedFrame(f"a document of {len(blob)} bytes exceeds {FRAME_BYTES_MAX}")
    document = _unpack(blob)
    if type(document) is not dict or not _is_document(document):
        raise MalformedFrame("a document is a map with text keys")
    return document


def _unpack(blob: bytes) -> Any:
    try:
        return msgpack.unpackb(
            blob,
            use_list=True,
            raw=False,
            strict_map_key=True,
            max_str_len=FRAME_BYTES_MAX,
            max_bin_len=FRAME_BYTES_MAX,
            max_array_len=min(ARRAY_MAX, len(blob)),  # an item has a byte at least
            max_map_len=min(MAP_MAX, len(blob)),
            max_ext_len=0,
        )
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise MalformedFrame(f"not msgpack within limits: {type(error).__name__}") from error


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= INT_MAX


def _is_int(value: object) -> bool:
    return type(value) is int and -INT_MAX <= value <= INT_MAX


_PLAIN = frozenset({type(None), bool, float, str, bytes})


def _is_document(value: object, depth: int = 0) -> bool:
    """Check types and depth of a nested document without recursion beyond DEPTH_MAX."""
    if depth > DEPTH_MAX:
        return False
    if type(value) is dict:
        return all(
            type(key) is str and _is_document(item, depth + 1) for key, item in value.items()
        )
    if type(value) is list:
        return all(_is_document(item, depth + 1) for item in value)
    return _is_int(value) if type(value) is int else type(value) in _PLAIN


def _exactly(kind: type) -> Callable[[object], bool]:
    return lambda value: type(value) is kind


def _list_of(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: type(value) is list and all(map(check, value))


_CHECKS: dict[Any, Callable[[object], bool]] = {
    int: _is_int,
    str: _exactly(str),
    bytes: _exactly(bytes),
    bool: _exactly(bool),
    dict: lambda value: type(value) is dict and _is_document(value),
}


def _check_for(annotation: Any) -> Callable[[object], bool]:
    if typing.get_origin(annotation) is list:
        (item,) = typing.get_args(annotation)
        return _list_of(_check_for(item))
    return _CHECKS[annotation]


class _Layout:
    """How one message type is taken apart, checked and put together."""

    def __init__(self, kind: type[Message]) -> None:
        hints = typing.get_type_hints(kind)
        self.kind = kind
        self.names = tuple(f.name for f in dataclasses.fields(kind))  # type: ignore[arg-type]  # Message has no fields of its own
        self.checks = tuple(_check_for(hints[name]) for name in self.names)
        self.columns = tuple(self.names.index(name) for name in kind.COLUMNS)
        self.counts = {
            version: sum(kind.ADDED.get(name, kind.SINCE) <= version for name in self.names)
            for version in range(VERSION_OLDEST, VERSION + 1)
        }
        getter = operator.attrgetter(*self.names) if self.names else None
        if getter is None:
            self.values: Callable[[Message], tuple[Any, ...]] = lambda _: ()
        elif len(self.names) == 1:
            self.values = lambda message: (getter(message),)
        else:
            self.values = getter

    def written(self, message: Message, version: int) -> tuple[Any, ...]:
        return self.values(message)[: self.counts[version]]

    def build(self, body: object, version: int) -> Message:
        count = self.counts[version]
        if type(body) is not list or len(body) != count:
            raise MalformedFrame(f"{self.kind.__name__}: expected {count} fields")
        for name, check, value in zip(self.names[:count], self.checks[:count], body, strict=True):
            if not check(value):
                raise MalformedFrame(f"{self.kind.__name__}.{name} has a wrong type or range")
        if self.columns and len({len(body[index]) for index in self.columns}) > 1:
            raise MalformedFrame(f"{self.kind.__name__}: columns of different lengths")
        return self.kind(*body)


_LAYOUTS = {number: _Layout(kind) for number, kind in MESSAGES.items()}
