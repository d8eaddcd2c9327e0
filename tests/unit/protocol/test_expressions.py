"""Is a need worked out right, is nothing else let in, and is all that comes out bounded?"""

from __future__ import annotations

import math
import operator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remuda.protocol import expressions
from remuda.protocol.expressions import BadExpression
from remuda.protocol.resources import BYTES_MAX

GIB = 1 << 30
NUMBERS = {"width": 1024, "height": 512, "half": 0.5, "nothing": 0}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2GiB + 24B*width*height", 2 * GIB + 24 * 1024 * 512),
        ("80GB", 80 * 10**9),
        ("1.5 GiB", 3 * GIB // 2),
        ("width / 3", 1024 / 3),
        ("width // 3", 341),
        ("ceil(width / 3)", 342),
        ("max(width, height, 4) - min(width, height)", 512),
        ("2 ** 3 ** 2", 512),
        ("-2 ** 2 + 10", 6),
        ("10 - 4 - 3", 3),
        ("--2 * -(1 - 3)", 4),
        ("1e3 * half", 500),
    ],
)
def test_an_expression_means_what_it_means_in_arithmetic(text: str, expected: float) -> None:
    assert expected == expressions.evaluate(expressions.parse(text), NUMBERS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "ends too early"),
        ("1 +", "ends too early"),
        ("(1", "lacks a )"),
        ("1)", "did not expect ')'"),
        ("1 2", "did not expect '2'"),
        ("3x", "cannot read '3x'"),
        ("a.b", "cannot read '.b'"),
        ("a[0]", "cannot read '[0]'"),
        ("open('x')", "did not expect '('"),
        ("__import__('os')", "did not expect '('"),
        ("lambda: 1", "cannot read ':'"),
        ("width if 1 else 2", "did not expect 'if'"),
        ("min(1)", "min takes two values or more, found 1"),
        ("ceil(1, 2)", "ceil takes one value, found 2"),
        ("ceil + 1", "ceil is a function"),
        ("(" * 30 + "1" + ")" * 30, "nested deeper than 24"),
        ("1" * 201, "has 201 characters, allowed are 200"),
        ("9" * 100, "is too large"),
    ],
)
def test_what_is_no_expression_is_refused_with_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(BadExpression) as caught:
        expressions.parse(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "numbers", "words"),
    [
        ("depth * 2", {}, "needs the keyword argument depth"),
        ("width", {"width": -1}, "the argument width is -1"),
        ("width", {"width": math.nan}, "the argument width is no finite number"),
        ("width", {"width": math.inf}, "the argument width is no finite number"),
        ("width / nothing", NUMBERS, "divides by zero"),
        ("width // nothing", NUMBERS, "divides by zero"),
        ("width ** 65", NUMBERS, "an exponent of 65 is beyond 64"),
        ("width ** 64", {"width": 1 << 60}, "overflows on the way"),
        ("(0 - width) ** half", NUMBERS, "is no real number"),
        ("nothing", NUMBERS, "comes to 0 bytes"),
        ("1 - width", NUMBERS, "comes to -1023 bytes"),
        ("2 ** 61", {}, "allowed are more than 0 and up to 1 EiB"),
    ],
)
def test_what_comes_to_nothing_usable_names_the_argument_or_the_reason(
    text: str, numbers: dict[str, float], words: str
) -> None:
    with pytest.raises(BadExpression) as caught:
        expressions.need_bytes(expressions.parse(text), numbers)
    assert words in str(caught.value)


@given(st.text(alphabet="0123456789.+-*/() ,abGiBKeminxcl\t_", max_size=40))
@settings(max_examples=400, deadline=None)
def test_whatever_is_written_is_an_expression_or_refused(text: str) -> None:
    try:
        found = expressions.parse(text)
        value = expressions.evaluate(found, dict.fromkeys(found.names, 3))
    except BadExpression:
        return
    assert abs(value) <= expressions.VALUE_MAX


SIGNS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
trees = st.recursive(
    st.integers(0, 99).map(lambda number: (str(number), number)),
    lambda inner: st.builds(
        lambda left, sign, right: (
            f"({left[0]} {sign} {right[0]})",
            SIGNS[sign](left[1], right[1]),
        ),
        inner,
        st.sampled_from(sorted(SIGNS)),
        inner,
    ),
    max_leaves=8,
)


@given(trees)
@settings(max_examples=200, deadline=None)
def test_sums_and_products_agree_with_exact_arithmetic(tree: tuple[str, int]) -> None:
    text, expected = tree
    assert expected == expressions.evaluate(expressions.parse(text), {})


@given(st.integers(1, BYTES_MAX))
@settings(max_examples=300, deadline=None)
def test_a_size_is_rounded_up_and_by_little(size: int) -> None:
    found = expressions.rounded_up(size)
    assert size <= found <= BYTES_MAX
    assert found - size < max(1 << 20, size / 32)
    assert found == expressions.rounded_up(found)


def test_arguments_that_differ_ask_for_few_different_sizes() -> None:
    sizes = {expressions.rounded_up(GIB + number * 4099) for number in range(100_000)}
    assert len(sizes) <= expressions.STEPS_PER_DOUBLING + 1


@pytest.mark.parametrize(
    ("value", "expected"), [("0", 0), ("1", 0), ("2", 1), ("3.9", 1), ("4", 2), ("2**20", 20)]
)
def test_a_size_class_is_the_order_of_a_size(value: str, expected: int) -> None:
    assert expected == expressions.size_class(expressions.parse(value), {})
