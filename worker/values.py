"""How arguments and results become bytes: msgpack that keeps Python's types, and never runs code.

Only the client and the worker look inside; everybody between carries the bytes. A class is
restored only where it is registered (`register_type`), elsewhere it is a `Record`. A `bytearray`
or `memoryview` arrives as `bytes`.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator
from typing import Any

import msgpack

from . import extensions
from .registry import Record, parts, register_type

__all__ = [
    "VALUE_BYTES_MAX",
    "NotDecodable",
    "NotEncodable",
    "Record",
    "ValueTooLarge",
    "decode",
    "decode_call",
    "encode",
    "encode_call",
    "register_type",
]

VALUE_BYTES_MAX = 64 << 10
DEPTH_MAX = 32
"""Most containers inside each other, on both sides."""
_SHALLOW_BYTES = DEPTH_MAX
"""A value of fewer bytes cannot be too deep: each container takes one."""
_EXPLAIN_PARTS_MAX = 10_000
"""How many parts are looked at to name the one that does not travel; cycles end here."""
_CONTAINERS = (list, dict, tuple, set, frozenset, Record)
_BAD_BYTES = (
    ValueError,  # msgpack's errors, UnicodeDecodeError, dates out of range
    TypeError,
    KeyError,
    AttributeError,
    ArithmeticError,  # OverflowError, decimal.InvalidOperation
    RecursionError,
    MemoryError,  # an array of an absurd shape
    ImportError,
    struct.error,
    msgpack.exceptions.UnpackException,
)


class NotEncodable(TypeError):  # noqa: N818 - a public name that reads as an outcome
    """A value has a part that does not travel: `path` says where, `remedy` what to do."""

    code = "result_not_encodable"

    def __init__(self, path: str, type_name: str, remedy: str) -> None:
        article = "an" if type_name[:1].lower() in "aeiou" else "a"
        super().__init__(f"{path} is {article} {type_name}: {remedy}")
        self.path = path
        self.type = type_name
        self.remedy = remedy


class ValueTooLarge(NotEncodable):
    """A value is larger than what travels inline."""

    code = "value_too_large"


class NotDecodable(ValueError):  # noqa: N818 - as above
    """Bytes are not a value that this side can read."""

    code = "args_not_decodable"


def encode(value: object, *, bytes_max: int = VALUE_BYTES_MAX) -> bytes:
    """Encode a value; raise NotEncodable, or ValueTooLarge above `bytes_max`."""
    try:
        blob = _pack(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _explain(value, error) from error
    if len(blob) > bytes_max:
        raise ValueTooLarge(
            "the value",
            f"{type(value).__name__} of {len(blob)} bytes",
            f"at most {bytes_max} bytes travel inline: write it to a file and pass the path",
        )
    if len(blob) > _SHALLOW_BYTES and _depth(value) > DEPTH_MAX:
        raise NotEncodable("the value", "nest", f"at most {DEPTH_MAX} levels travel: flatten it")
    return blob


def decode(blob: bytes) -> Any:
    """Decode a value; raise NotDecodable, and nothing else, for any bytes."""
    try:
        return _Decoder().unpack(blob)
    except _BAD_BYTES as error:
        raise NotDecodable(f"cannot read the value: {error}") from error


def encode_call(
    args: tuple[Any, ...], kwargs: dict[str, Any], *, bytes_max: int = VALUE_BYTES_MAX
) -> bytes:
    """Encode the arguments of a call, for `frames.Call.args`."""
    return encode([list(args), kwargs], bytes_max=bytes_max)


def decode_call(blob: bytes) -> tuple[list[Any], dict[str, Any]]:
    """Decode the arguments of a call; raise NotDecodable."""
    value = decode(blob)
    try:
        args, kwargs = value
    except (TypeError, ValueError):
        args = kwargs = None
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise NotDecodable("not the arguments of a call")
    return args, kwargs


def _lower(value: object) -> msgpack.ExtType:
    return msgpack.ExtType(*extensions.lower(value, _pack))


def _pack(value: object) -> bytes:
    blob: bytes = msgpack.packb(value, default=_lower, strict_types=True)
    return blob


class _Decoder:
    """One decoding: extensions inside each other are counted, since each is a call of ours."""

    __slots__ = ("_depth",)

    def __init__(self) -> None:
        self._depth = 0

    def unpack(self, blob: bytes) -> Any:
        return msgpack.unpackb(blob, ext_hook=self._raise, strict_map_key=False)

    def _raise(self, code: int, body: bytes) -> object:
        if self._depth >= 2 * DEPTH_MAX:
            raise ValueError("too deep")
        self._depth += 1
        try:
            return extensions.raise_(code, bytes(body), self.unpack)
        finally:
            self._depth -= 1


def _inside(value: Any) -> Iterator[tuple[str, object]]:
    """Return the parts of a value with how each is reached."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield f" key {key!r:.60}", key
            yield f"[{key!r:.60}]", part
    elif isinstance(value, (list, tuple)):
        for at, part in enumerate(value):
            yield f"[{at}]", part
    elif isinstance(value, (set, frozenset)):
        for part in value:
            yield "{...}", part
    elif isinstance(value, Record):
        for name, part in parts(value)[1].items():
            yield f".{name}", part
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield f".{field.name}", getattr(value, field.name)


def _depth(value: object) -> int:
    """Return how many containers are inside each other, at most one more than allowed."""
    level = [value]
    for depth in range(DEPTH_MAX + 1):
        level = [
            part
            for outer in level
            for _, part in _inside(outer)
            if isinstance(part, _CONTAINERS) or hasattr(part, "__dataclass_fields__")
        ]
        if not level:
            return depth
    return DEPTH_MAX + 1


def _explain(value: object, error: Exception) -> NotEncodable:
    """Find the part that does not travel, walking as far down as values may go."""
    level: list[tuple[str, object]] = [("the value", value)]
    for _ in range(DEPTH_MAX + 1):
        for path, part in level:
            remedy = _trouble(part)
            if remedy:
                return NotEncodable(path, type(part).__qualname__, remedy)
        level = [(path + step, inner) for path, part in level for step, inner in _inside(part)]
        if len(level) > _EXPLAIN_PARTS_MAX:
            break
    return NotEncodable("the value", type(value).__qualname__, f"it cannot be encoded: {error}")


def _trouble(part: object) -> str:
    """Return why this part itself, without what is inside it, does not travel."""
    if type(part) in (list, dict, tuple, set, frozenset, Record):
        return ""
    if isinstance(part, str) and type(part) is str:
        try:
            part.encode()
        except UnicodeEncodeError:
            return "it holds lone surrogates: use bytes"
        return ""
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        return ""
    try:
        _pack(part)
    except extensions.Unsupported as error:
        return str(error)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        return f"it cannot be encoded: {error}"
    return ""
