"""Do values keep their types on the way, and do foreign bytes do no harm?"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import decimal
import enum
import uuid
import zoneinfo
from collections import OrderedDict, namedtuple
from pathlib import Path, PurePosixPath
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.worker import registry, values
from remuda.worker.values import NotDecodable, NotEncodable, Record, ValueTooLarge


def travelled(value: Any) -> Any:
    return values.decode(values.encode(value, bytes_max=1 << 24))


def same(left: Any, right: Any) -> bool:
    """Compare values and, all the way down, their types."""
    if type(left) is not type(right):
        return False
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return same(list(left.items()), list(right.items()))
    return bool(left == right)


def assert_harmless(blob: bytes) -> None:
    """Fail, with what was raised, unless the bytes are a value or one typed error."""
    with contextlib.suppress(NotDecodable):
        values.decode(blob)


ZONES = st.sampled_from(
    [dt.UTC, dt.timezone(dt.timedelta(hours=-3, minutes=-30)), zoneinfo.ZoneInfo("Europe/Paris")]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(2**200), max_value=2**200),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    st.text(),
    st.binary(),
    st.decimals(allow_nan=False),
    st.uuids(),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.datetimes(),
    st.datetimes(timezones=ZONES),
    st.sampled_from([Path("/a/b"), Path(), PurePosixPath("x"), Path("/\udcff")]),
)
HASHABLE = st.one_of(SCALARS, st.tuples(SCALARS, SCALARS), st.frozensets(SCALARS, max_size=3))
VALUES = st.recursive(
    HASHABLE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.sets(HASHABLE, max_size=4),
        st.dictionaries(HASHABLE, inner, max_size=4),
    ),
    max_leaves=12,
)


@given(VALUES)
def test_every_value_arrives_with_its_type(value: Any) -> None:
    assert same(value, travelled(value))


@given(st.binary(max_size=300))
def test_hostile_bytes_raise_one_typed_error_only(blob: bytes) -> None:
    assert_harmless(blob)


@given(st.integers(0, 127), st.binary(max_size=60), VALUES)
def test_hostile_extensions_raise_one_typed_error_only(code: int, body: bytes, plain: Any) -> None:
    for inside in (body, values.encode(plain, bytes_max=1 << 24)):
        assert_harmless(msgpack.packb(msgpack.ExtType(code, inside)))


@given(VALUES, st.integers(0, 10_000), st.integers(0, 255))
def test_a_damaged_value_raises_one_typed_error_only(value: Any, at: int, byte: int) -> None:
    blob = bytearray(values.encode(value, bytes_max=1 << 24))
    blob[at % len(blob)] = byte
    assert_harmless(bytes(blob))


def test_extensions_nested_beyond_reason_are_refused() -> None:
    blob = b"\x90"
    for _ in range(3000):
        blob = msgpack.packb(msgpack.ExtType(1, blob))
    with pytest.raises(NotDecodable, match="too deep"):
        values.decode(blob)


def test_lists_nested_beyond_reason_are_refused() -> None:
    with pytest.raises(NotDecodable):
        values.decode(b"\x91" * 100_000)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=">i4").reshape(3, 4),
        np.zeros((0, 3)),
        np.array(5.0),
        np.array([[True, False]]).T,
        np.array(["héllo", "x"]),
        np.array(["2020-01-01", "NaT"], dtype="M8[D]"),
        np.array([1 + 2j], dtype=np.complex64),
        np.arange(10, dtype=np.float16)[::2],
    ],
    ids=str,
)
def test_arrays_keep_shape_type_and_content(array: Any) -> None:
    found = travelled(array)
    assert (array.dtype, array.shape) == (found.dtype, found.shape)
    assert array.tobytes() == found.tobytes()
    assert found.flags.writeable


@pytest.mark.parametrize("scalar", [np.float64(1.5), np.int8(-3), np.bool_(True), np.str_("a")])
def test_array_scalars_keep_their_type(scalar: Any) -> None:
    assert same(scalar, travelled(scalar))


def test_arrays_of_objects_are_refused() -> None:
    with pytest.raises(NotEncodable, match="arrays of dtype object do not travel"):
        values.encode([np.array([object()])])


def test_an_array_with_a_lying_shape_is_refused() -> None:
    for shape in ([3], [-1], [2**62], ["2"], [2, 2**61]):
        blob = msgpack.packb(msgpack.ExtType(14, msgpack.packb(["<f8", shape, bytes(16)])))
        with pytest.raises(NotDecodable):
            values.decode(blob)


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    x: int
    tags: tuple[str, ...] = ()


@dataclasses.dataclass
class Doubled:
    size: int
    area: int = dataclasses.field(init=False, default=0)

    def __post_init__(self) -> None:
        self.area = self.size * 2


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Money:
    def __init__(self, cents: int) -> None:
        self.cents = cents


@pytest.fixture
def fresh_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_by_name", {})
    monkeypatch.setattr(registry, "_by_class", {})


@pytest.mark.usefixtures("fresh_registry")
def test_a_registered_dataclass_is_restored() -> None:
    values.register_type(Point)
    values.register_type(Doubled)
    sent = [Point(1, ("a",)), Doubled(3)]
    assert same(sent, travelled(sent))


@pytest.mark.usefixtures("fresh_registry")
def test_an_unregistered_dataclass_becomes_a_record_that_reads_alike() -> None:
    found = travelled(Point(1, ("a",)))
    assert Record(f"{__name__}:Point", {"x": 1, "tags": ("a",)}) == found
    assert (1, ("a",)) == (found.x, found.tags)


@pytest.mark.usefixtures("fresh_registry")
def test_a_record_on_its_way_back_becomes_the_class_again() -> None:
    record = travelled([Point(2), Color.RED])
    values.register_type(Point)
    values.register_type(Color)
    assert [Point(2), Color.RED] == travelled(record)


@pytest.mark.usefixtures("fresh_registry")
def test_registered_enums_are_restored_by_name() -> None:
    values.register_type(Color)
    values.register_type(Level)
    assert same([Color.RED, Level.LOW], travelled([Color.RED, Level.LOW]))


@pytest.mark.usefixtures("fresh_registry")
def test_any_class_travels_with_two_functions() -> None:
    values.register_type(Money, "money", to=lambda money: money.cents, of=Money)
    assert 250 == travelled({"price": Money(250)})["price"].cents


@pytest.mark.usefixtures("fresh_registry")
def test_a_function_that_fails_on_the_way_in_is_one_typed_error() -> None:
    values.register_type(Money, "money", to=lambda money: money.cents, of=lambda cents: 1 / 0)
    with pytest.raises(NotDecodable, match="ZeroDivisionError"):
        travelled(Money(1))


@pytest.mark.usefixtures("fresh_registry")
def test_a_new_field_with_a_default_is_filled_in() -> None:
    values.register_type(Point, "point")
    assert Point(5) == travelled(Record("point", {"x": 5}))
    with pytest.raises(NotDecodable, match="the field x is missing"):
        travelled(Record("point", {"tags": ()}))


def test_a_plain_class_cannot_be_registered_alone() -> None:
    with pytest.raises(TypeError, match="give `to=` and `of=`"):
        values.register_type(Money)


@pytest.mark.parametrize(
    ("value", "path", "remedy"),
    [
        (object(), "the value", "register_type"),
        ({"a": [1, {2: len}]}, "the value['a'][1][2]", "name them in text"),
        ([OrderedDict()], "the value[0]", "dict(value)"),
        (namedtuple("Pair", "a b")(1, 2), "the value", "tuple(value)"),
        ((i for i in ()), "the value", "list(value)"),
        (("\ud800",), "the value[0]", "bytes"),
        (Point(1, (object(),)), "the value.tags[0]", "register_type"),  # type: ignore[arg-type]
    ],
    ids=("object", "function", "mapping", "named tuple", "generator", "surrogate", "within"),
)
def test_what_does_not_travel_is_named_with_its_place_and_a_remedy(
    value: Any, path: str, remedy: str
) -> None:
    with pytest.raises(NotEncodable) as caught:
        values.encode(value)
    assert path == caught.value.path
    assert remedy in caught.value.remedy


def test_a_value_over_the_limit_says_its_size() -> None:
    assert values.encode(b"x" * (65536 - 3))
    with pytest.raises(ValueTooLarge, match="at most 65536 bytes travel inline") as caught:
        values.encode(b"x" * 65536)
    assert "value_too_large" == caught.value.code


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value, 1]
    return value


def test_depth_is_bounded() -> None:
    assert nested(32) == travelled(nested(32))
    with pytest.raises(NotEncodable, match="at most 32 levels"):
        values.encode(nested(34))


def test_a_value_that_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value += [value, value]
    with pytest.raises(NotEncodable):
        values.encode(value)


def test_arguments_of_a_call_come_back() -> None:
    blob = values.encode_call((1, (2,)), {"k": {3: 4}})
    assert ([1, (2,)], {"k": {3: 4}}) == values.decode_call(blob)


@pytest.mark.parametrize("value", [1, [], [1, 2], [[], []], {}])
def test_what_is_no_arguments_is_refused(value: Any) -> None:
    with pytest.raises(NotDecodable):
        values.decode_call(values.encode(value))


def test_special_numbers_arrive() -> None:
    found = travelled([float("nan"), decimal.Decimal("NaN"), float("-inf"), -0.0, uuid.UUID(int=0)])
    expected = "[nan, Decimal('NaN'), -inf, -0.0, UUID('00000000-0000-0000-0000-000000000000')]"
    assert expected == str(found)
