"""How each type beyond msgpack's own is written: one extension code per type, never pickle."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import os
import pathlib
import re
import struct
import sys
import uuid
from collections.abc import Callable
from typing import Any

from . import registry
from .large import BUFFER_BYTES_MIN, Buffer
from .registry import Record

TUPLE, SET, FROZENSET = 1, 2, 3
DATETIME, DATE, TIME, TIMEDELTA = 5, 6, 7, 8
PATH, BIG_INT, COMPLEX, DECIMAL, UUID = 9, 10, 11, 12, 13
NUMPY_ARRAY, NUMPY_SCALAR = 14, 15
DATACLASS, ENUM, CUSTOM = 16, 17, 18
FILE, STORED, BUFFER = 19, 20, 21

_COMPLEX = struct.Struct("<dd")
_DTYPE = re.compile(r"[<>|=](?:[biufcSU]\d{1,6}|[mM]8(?:\[\w{1,8}\])?)")
_KIND_OF_CODE = {DATACLASS: registry.DATACLASS, ENUM: registry.ENUM, CUSTOM: registry.CUSTOM}
_CODE_OF_KIND = {kind: code for code, kind in _KIND_OF_CODE.items()}

Pack = Callable[[object], bytes]
Unpack = Callable[[bytes], Any]


class Unsupported(TypeError):  # noqa: N818 - caught two lines away
    """A value has no encoding; the text is the remedy."""


def lower(value: Any, pack: Pack) -> tuple[int, bytes]:
    """Return (extension code, body) of a value msgpack does not know; raise Unsupported."""
    lowering = _LOWERINGS.get(type(value))
    if lowering is not None:
        return lowering(value, pack)
    entry = registry.by_class(type(value))
    if entry is not None and entry.to is not None:
        return CUSTOM, pack([entry.name, {"value": entry.to(value)}])
    if isinstance(value, enum.Enum):
        fields = {"name": value.name, "value": value.value}
        return ENUM, pack([_name_of(type(value)), fields])
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return DATACLASS, pack([_name_of(type(value)), fields])
    if isinstance(value, pathlib.PurePath):
        return PATH, pack([os.fsencode(value), isinstance(value, pathlib.Path)])
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)):
        return _lower_numpy(value, numpy, pack)
    raise Unsupported(_remedy(value))


def raise_(code: int, body: bytes, unpack: Unpack) -> object:
    """Build the value of an extension; raise ValueError, TypeError and the like on bad bytes."""
    raising = _RAISINGS.get(code)
    if raising is None:
        raise ValueError(f"unknown extension {code}: the sender's remuda may be newer")
    return raising(body, unpack)


def _name_of(cls: type) -> str:
    entry = registry.by_class(cls)
    return entry.name if entry is not None else registry.class_name(cls)


def _remedy(value: object) -> str:
    kind = type(value)
    for base, remedy in (
        (tuple, "use tuple(value), or a dataclass"),
        (dict, "use dict(value)"),
        (list, "use list(value)"),
        (str, "use str(value)"),
        (int, "use int(value)"),
    ):
        if issubclass(kind, base):
            return f"{remedy}, or register_type({kind.__name__}, to=..., of=...)"
    if callable(value):
        return "functions and classes do not travel: name them in text and look them up there"
    if hasattr(value, "__next__"):
        return "use list(value)"
    return f"return plain data, or register_type({kind.__name__}, to=..., of=...)"


def _lower_int(value: int, _: Pack) -> tuple[int, bytes]:
    return BIG_INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def _zone(value: dt.datetime | dt.time) -> list[object] | None:
    if value.tzinfo is None:
        return None
    offset = value.utcoffset()
    offset_us = None if offset is None else offset // dt.timedelta(microseconds=1)
    return [getattr(value.tzinfo, "key", None), offset_us]


def _tzinfo(zone: list[Any] | None) -> dt.tzinfo | None:
    if zone is None:
        return None
    key, offset_us = zone
    if key is not None:
        import zoneinfo

        try:
            return zoneinfo.ZoneInfo(key)
        except (OSError, ValueError, zoneinfo.ZoneInfoNotFoundError):
            if offset_us is None:
                raise ValueError(f"time zone {key} is not known here") from None
    return dt.timezone(dt.timedelta(microseconds=offset_us))


def _lower_datetime(value: dt.datetime, pack: Pack) -> tuple[int, bytes]:
    return DATETIME, pack([value.replace(tzinfo=None).isoformat(), value.fold, _zone(value)])


def _raise_datetime(body: bytes, unpack: Unpack) -> object:
    text, fold, zone = unpack(body)
    return dt.datetime.fromisoformat(text).replace(fold=fold, tzinfo=_tzinfo(zone))


def _lower_time(value: dt.time, pack: Pack) -> tuple[int, bytes]:
    return TIME, pack([value.replace(tzinfo=None).isoformat(), value.fold, _zone(value)])


def _raise_time(body: bytes, unpack: Unpack) -> object:
    text, fold, zone = unpack(body)
    return dt.time.fromisoformat(text).replace(fold=fold, tzinfo=_tzinfo(zone))


def _raise_path(body: bytes, unpack: Unpack) -> object:
    raw, concrete = unpack(body)
    return (pathlib.Path if concrete else pathlib.PurePosixPath)(os.fsdecode(raw))


def _lower_record(value: Record, pack: Pack) -> tuple[int, bytes]:
    name, fields, kind = registry.parts(value)
    return _CODE_OF_KIND[kind], pack([name, fields])


def _raise_named(code: int, body: bytes, unpack: Unpack) -> object:
    name, fields = unpack(body)
    if not isinstance(name, str) or not isinstance(fields, dict):
        raise TypeError("a named value without name or fields")
    entry = registry.by_name(name)
    if entry is None or entry.kind != _KIND_OF_CODE[code]:
        return Record(name, fields, _KIND_OF_CODE[code])
    if entry.of is not None:
        return _build_custom(entry, fields["value"])
    if issubclass(entry.cls, enum.Enum):
        return entry.cls[fields["name"]]
    return _build_dataclass(entry.cls, fields)


def _build_custom(entry: registry.Entry, plain: object) -> object:
    assert entry.of is not None
    try:
        return entry.of(plain)
    except Exception as error:  # the user's own function, on foreign data
        raise ValueError(f"{entry.name}: of() raised {type(error).__name__}: {error}") from error


def _build_dataclass(cls: Any, fields: dict[str, object]) -> object:
    # Not through __init__: what __post_init__ made of the arguments is already in the fields.
    made = object.__new__(cls)
    for field in dataclasses.fields(cls):
        if field.name in fields:
            value = fields[field.name]
        elif field.default is not dataclasses.MISSING:
            value = field.default
        elif field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        else:
            raise ValueError(f"{cls.__qualname__}: the field {field.name} is missing")
        object.__setattr__(made, field.name, value)
    return made


def _lower_numpy(value: Any, numpy: Any, pack: Pack) -> tuple[int, bytes]:
    if not _DTYPE.fullmatch(value.dtype.str):
        raise Unsupported(f"arrays of dtype {value.dtype} do not travel: use .tolist()")
    if isinstance(value, numpy.generic):
        return NUMPY_SCALAR, pack([value.dtype.str, value.tobytes()])
    data: object
    if value.nbytes > BUFFER_BYTES_MIN:
        plain = numpy.ascontiguousarray(value).reshape(-1)
        data = Buffer(memoryview(plain.view(numpy.uint8)))
    else:
        data = value.tobytes()
    return NUMPY_ARRAY, pack([value.dtype.str, list(value.shape), data])


def _raise_array(body: bytes, unpack: Unpack) -> object:
    text, shape, data = unpack(body)
    dtype = _dtype(text)
    import numpy as np

    if not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError("an array with a shape that is none")
    if not len(data):
        return np.zeros(shape, dtype)[:0].reshape(shape) if 0 in shape else _refuse_shape()
    array = np.frombuffer(data, dtype).reshape(shape)
    return array if array.flags.writeable else array.copy()  # as the sender's was


def _refuse_shape() -> object:
    raise ValueError("an array with a shape but no data")


def _raise_scalar(body: bytes, unpack: Unpack) -> object:
    text, data = unpack(body)
    dtype = _dtype(text)
    import numpy as np

    if not data and dtype.itemsize == 0:
        return np.zeros((), dtype)[()]
    (scalar,) = np.frombuffer(data, dtype)
    return scalar


def _dtype(text: object) -> Any:
    if not isinstance(text, str) or not _DTYPE.fullmatch(text):
        raise ValueError(f"no array type: {text!r:.60}")
    try:
        import numpy as np
    except ImportError:
        raise ValueError("the value is a NumPy array: install numpy in this interpreter") from None
    return np.dtype(text)


_LOWERINGS: dict[type, Callable[[Any, Pack], tuple[int, bytes]]] = {
    tuple: lambda value, pack: (TUPLE, pack(list(value))),
    set: lambda value, pack: (SET, pack(list(value))),
    frozenset: lambda value, pack: (FROZENSET, pack(list(value))),
    int: _lower_int,
    complex: lambda value, _: (COMPLEX, _COMPLEX.pack(value.real, value.imag)),
    decimal.Decimal: lambda value, _: (DECIMAL, str(value).encode()),
    uuid.UUID: lambda value, _: (UUID, value.bytes),
    dt.datetime: _lower_datetime,
    dt.date: lambda value, _: (DATE, value.isoformat().encode()),
    dt.time: _lower_time,
    dt.timedelta: lambda value, pack: (
        TIMEDELTA,
        pack([value.days, value.seconds, value.microseconds]),
    ),
    Record: _lower_record,
}

_RAISINGS: dict[int, Callable[[bytes, Unpack], object]] = {
    TUPLE: lambda body, unpack: tuple(_items(body, unpack)),
    SET: lambda body, unpack: set(_items(body, unpack)),
    FROZENSET: lambda body, unpack: frozenset(_items(body, unpack)),
    BIG_INT: lambda body, _: int.from_bytes(body, "big", signed=True),
    COMPLEX: lambda body, _: complex(*_COMPLEX.unpack(body)),
    DECIMAL: lambda body, _: decimal.Decimal(body.decode("ascii")),
    UUID: lambda body, _: uuid.UUID(bytes=body),
    DATETIME: _raise_datetime,
    DATE: lambda body, _: dt.date.fromisoformat(body.decode("ascii")),
    TIME: _raise_time,
    TIMEDELTA: lambda body, unpack: dt.timedelta(*_items(body, unpack)),
    PATH: _raise_path,
    NUMPY_ARRAY: _raise_array,
    NUMPY_SCALAR: _raise_scalar,
    DATACLASS: lambda body, unpack: _raise_named(DATACLASS, body, unpack),
    ENUM: lambda body, unpack: _raise_named(ENUM, body, unpack),
    CUSTOM: lambda body, unpack: _raise_named(CUSTOM, body, unpack),
}


def _items(body: bytes, unpack: Unpack) -> list[Any]:
    items = unpack(body)
    if not isinstance(items, list):
        raise TypeError("a sequence that is none")
    return items
