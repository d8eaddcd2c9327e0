"""How a value is written back, so that reading it gives the same value."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.config.written import written
from remuda.protocol.resources import parse_bytes, parse_duration_s


def read(text: str) -> object:
    return tomllib.loads(f"value = {text}")["value"]


@given(st.one_of(st.integers(0, 1 << 60), st.integers(0, 1 << 20).map(lambda n: n << 30)))
def test_a_size_survives_writing_and_reading(size):
    assert size == parse_bytes(read(written("memory_bytes", size)))


@given(st.one_of(st.integers(0, 10**8), st.integers(0, 10**9).map(lambda n: n / 1000)))
def test_a_duration_survives_writing_and_reading(seconds):
    assert seconds == parse_duration_s(read(written("lease_s", seconds)))


VALUES = st.one_of(
    st.text(st.characters(codec="utf-8")), st.integers(), st.booleans(), st.floats(allow_nan=False)
)


@given(
    st.one_of(
        VALUES, st.lists(VALUES), st.dictionaries(st.text(st.characters(codec="utf-8")), VALUES)
    )
)
def test_any_other_value_survives_writing_and_reading(value):
    assert value == read(written("labels", value))


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ('"12GiB"', "memory_bytes", 12 << 30),
        ('"1537KiB"', "memory_bytes", 1537 << 10),
        ("0", "output_edge_bytes", 0),
        ("1000", "memory_bytes", 1000),
        ('"1m"', "lease_s", 60.0),
        ('"90s"', "lease_s", 90.0),
        ('"50ms"', "prefetch_s", 0.05),
        ('"0s"', "grace_s", 0.0),
        ('"1d"', "retention_age_s", 86400.0),
        ("7700", "port", 7700),
        ("", "state_dir", None),
    ],
)
def test_a_value_is_written_in_the_largest_unit_that_is_exact(text, name, value):
    assert text == written(name, value)
