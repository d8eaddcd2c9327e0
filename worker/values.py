"""How arguments and results become bytes: msgpack that keeps Python's types, and never runs code.

Only the client and the worker look inside; everybody between carries the bytes. A class is
restored only where it is registered (`register_type`), elsewhere it is a `Record`. A `bytearray`
or `memoryview` arrives as `bytes`. What is too large for a message is an object of the store
(`large.py`), and so are the bytes of a `File`: the value names them.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import msgpack

from . import extensions, large
from .files import File, Row, read_row
from .large import Buffer, Parcel, Stored
from .registry import Record, parts, register_type

__all__ = [
    "VALUE_BYTES_MAX",
    "NotDecodable",
    "NotEncodable",
    "Objects",
    "Record",
    "ValueTooLarge",
    "decode",
    "decode_call",
    "encode",
    "encode_call",
    "pack",
    "pack_call",
    "register_type",
]

VALUE_BYTES_MAX = 64 << 10
STORED_DEPTH_MAX = 2
"""A call is an object of its own when its large arguments, objects by themselves, are many."""
DEPTH_MAX = 32
"""Most containers inside each other, on both sides."""
_SHALLOW_BYTES = DEPTH_MAX
"""A value of fewer bytes cannot be too deep: each container takes one."""
_EXPLAIN_PARTS_MAX = 10_000
"""How many parts are looked at to name the one that does not travel; cycles end here."""
_SCALARS = frozenset({int, float, bool, str, type(None)})
_CONTAINERS = (list, dict, tuple, set, frozenset, Record)
_BAD_BYTES = (
    ValueError,  # msgpack's errors, UnicodeDecodeError, dates out of range
    TypeError,
    LookupError,
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


class Objects(Protocol):
    """Where the objects are that a value names."""

    def file(self, row: Row) -> File:
        """Return a file."""

    def value(self, digest: bytes, size: int) -> memoryview:
        """Return the bytes of a large value; raises ValueError when they are not there."""


def encode(value: object, *, bytes_max: int = VALUE_BYTES_MAX) -> bytes:
    """Encode a value by itself; raise NotEncodable, or ValueTooLarge above `bytes_max`."""
    blob = _Encoder().encode(value)
    if len(blob) > bytes_max:
        raise ValueTooLarge(
            "the value",
            f"{type(value).__name__} of {len(blob)} bytes",
            f"at most {bytes_max} bytes travel inline: write it to a file and pass the path",
        )
    return blob


def pack(value: object, take: Callable[[File], Row]) -> Parcel:
    """Encode a value of any size; `take` is told of each file in it. Raises NotEncodable."""
    if type(value) in _SCALARS and (short := _short(value)):
        return Parcel(short)
    encoder = _Encoder(take)
    blob = encoder.encode(large.lift(value))
    if not encoder.buffers and len(blob) <= VALUE_BYTES_MAX:
        return Parcel(blob)
    stored = large.lay_out(blob, encoder.buffers)
    return Parcel(_Encoder().pack(stored), [stored])


def pack_call(args: tuple[Any, ...], kwargs: dict[str, Any], take: Callable[[File], Row]) -> Parcel:
    """Encode the arguments of a call. A large one is stored by itself: other calls share it."""
    call = [list(args), kwargs]
    if not kwargs and _SCALARS.issuperset(map(type, args)) and (short := _short(call)):
        return Parcel(short)
    encoder = _Encoder(take)
    blob = encoder.encode(large.lift(call))
    if not encoder.buffers and len(blob) <= VALUE_BYTES_MAX:
        return Parcel(blob)
    found: list[Stored] = []

    def part(value: object) -> object:
        parcel = pack(value, take)
        found.extend(parcel.stored)
        return parcel.stored[0] if parcel.stored else value

    whole = pack([[part(arg) for arg in args], {key: part(kwargs[key]) for key in kwargs}], take)
    return Parcel(whole.body, [*found, *whole.stored])


def decode(blob: bytes, objects: Objects | None = None) -> Any:
    """Decode a value; raise NotDecodable, and nothing else, for any bytes."""
    try:
        return _Decoder(objects).unpack(blob)
    except _BAD_BYTES as error:
        raise NotDecodable(f"cannot read the value: {error}") from error


def encode_call(
    args: tuple[Any, ...], kwargs: dict[str, Any], *, bytes_max: int = VALUE_BYTES_MAX
) -> bytes:
    """Encode the arguments of a call by themselves, for `frames.Call.args`."""
    return encode([list(args), kwargs], bytes_max=bytes_max)


def decode_call(blob: bytes, objects: Objects | None = None) -> tuple[list[Any], dict[str, Any]]:
    """Decode the arguments of a call; raise NotDecodable."""
    value = decode(blob, objects)
    try:
        args, kwargs = value
    except (TypeError, ValueError):
        args = kwargs = None
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise NotDecodable("not the arguments of a call")
    return args, kwargs


def _short(value: object) -> bytes:
    """Encode what is scalars alone the short way; empty where that does not do."""
    try:
        blob: bytes = msgpack.packb(value)
    except (ValueError, OverflowError):  # a large integer, a lone surrogate
        return b""
    return blob if len(blob) <= VALUE_BYTES_MAX else b""


class _Encoder:
    """One encoding. Without `take` all is inline, and no file can be in it."""

    __slots__ = ("_take", "buffers")

    def __init__(self, take: Callable[[File], Row] | None = None) -> None:
        self._take = take
        self.buffers: list[memoryview] = []

    def encode(self, value: object) -> bytes:
        """Encode a whole value; raise NotEncodable."""
        try:
            blob = self.pack(value)
        except NotEncodable:
            raise
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise _explain(value, error) from error
        if len(blob) > _SHALLOW_BYTES and _depth(value) > DEPTH_MAX:
            remedy = f"at most {DEPTH_MAX} levels travel: flatten it"
            raise NotEncodable("the value", "nest", remedy)
        return blob

    def pack(self, value: object) -> bytes:
        """Encode a part."""
        blob: bytes = msgpack.packb(value, default=self._lower, strict_types=True)
        return blob

    def _lower(self, value: object) -> object:
        kind = type(value)
        if kind is Buffer:
            return self._beside(value.view)  # type: ignore[attr-defined]  # of a Buffer
        if kind is Stored:
            return msgpack.ExtType(extensions.STORED, large.name(value))  # type: ignore[arg-type]
        if isinstance(value, File):
            if self._take is None:
                raise NotEncodable("the value", "File", "one travels only to a task and from it")
            return msgpack.ExtType(extensions.FILE, self.pack(list(self._take(value))))
        return msgpack.ExtType(*extensions.lower(value, self.pack))

    def _beside(self, view: memoryview) -> object:
        if self._take is None:
            return bytes(view)
        self.buffers.append(view)
        number = len(self.buffers) - 1
        return msgpack.ExtType(extensions.BUFFER, number.to_bytes(4, "big"))


class _Decoder:
    """One decoding: extensions inside each other are counted, since each is a call of ours."""

    __slots__ = ("_buffers", "_depth", "_objects", "_stored_depth")

    def __init__(
        self,
        objects: Objects | None = None,
        buffers: list[memoryview] | None = None,
        stored_depth: int = 0,
    ) -> None:
        self._objects = objects
        self._buffers = buffers or []
        self._stored_depth = stored_depth
        self._depth = 0

    def unpack(self, blob: bytes | memoryview) -> Any:
        return msgpack.unpackb(blob, ext_hook=self._raise, strict_map_key=False)

    def _raise(self, code: int, body: bytes) -> object:
        if self._depth >= 2 * DEPTH_MAX:
            raise ValueError("too deep")
        self._depth += 1
        try:
            if code == extensions.NUMPY_ARRAY:
                return extensions.raise_(code, body, self._unpack_with_views)
            if code == extensions.BUFFER:
                return bytes(self._view(code, body))
            if code == extensions.STORED:
                return self._stored(large.read_name(body))
            if code == extensions.FILE:
                return self._known().file(read_row(self.unpack(body)))
            return extensions.raise_(code, bytes(body), self.unpack)
        finally:
            self._depth -= 1

    def _stored(self, stored: Stored) -> object:
        if self._stored_depth >= STORED_DEPTH_MAX:
            raise ValueError("too many stored values inside each other")
        objects = self._known()
        blob, buffers = large.take_apart(objects.value(stored.digest, stored.size))
        return _Decoder(objects, buffers, self._stored_depth + 1).unpack(blob)

    def _known(self) -> Objects:
        if self._objects is None:
            raise ValueError("it is in the store, out of reach here")
        return self._objects

    def _unpack_with_views(self, body: bytes) -> Any:
        return msgpack.unpackb(body, ext_hook=self._view)

    def _view(self, code: int, body: bytes) -> memoryview:
        if code != extensions.BUFFER:
            raise ValueError("no buffer")
        return self._buffers[int.from_bytes(body, "big")]


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
    if isinstance(part, File) or (dataclasses.is_dataclass(part) and not isinstance(part, type)):
        return ""
    try:
        _Encoder().pack(part)
    except extensions.Unsupported as error:
        return str(error)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        return f"it cannot be encoded: {error}"
    return ""
