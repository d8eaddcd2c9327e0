"""Does a line name the nodes that it should, and does a bad one say what is wrong?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.protocol.selecting import Selector, selector_of

LABELS = {"gpu": "a100", "zone": "b"}
names = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("n1", True),
        ("n2, n1", True),
        ("n2", False),
        ("gpu=a100", True),
        ("gpu=a100, zone=b", True),
        ("gpu=a100, zone=c", False),
        ("rack=1", False),
    ],
)
def test_a_line_means_nodes_by_name_or_by_all_of_its_labels(text: str, expected: bool) -> None:
    assert expected == selector_of(text).selects("n1", LABELS)


@pytest.mark.parametrize(
    ("text", "said"),
    [("n1, gpu=a100", "names and labels"), ("gpu=", "neither"), ("a b", "neither"), ("-x", "neit")],
)
def test_a_line_that_means_nothing_is_refused_with_what_to_write(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        selector_of(text)


@given(st.lists(names, max_size=5), st.dictionaries(names, names, max_size=5))
def test_a_selector_is_read_back_as_it_is_written(
    chosen: list[str], labels: dict[str, str]
) -> None:
    for made in (Selector(tuple(dict.fromkeys(chosen))), Selector((), tuple(labels.items()))):
        assert made == selector_of(str(made))
