"""On which line of a file a key stands."""

import json
import tomllib

from hypothesis import given
from hypothesis import strategies as st

from remuda.config.toml_lines import key_lines

TEXT = '''\
# [not.a.table]
top = 1

[a]   # comment
b = """
c = 3
[d]
"""
e.f = { g = 1, h = 2 }
list = [
  1, # ]
]

["x.y".z]
"k.l" = 1
[[many]]
n = 1
'''


def test_each_key_has_the_line_that_first_names_it():
    expected = {
        ("top",): 2,
        ("a",): 4,
        ("a", "b"): 5,
        ("a", "e"): 9,
        ("a", "e", "f"): 9,
        ("a", "e", "f", "g"): 9,
        ("a", "e", "f", "h"): 9,
        ("a", "list"): 10,
        ("x.y",): 14,
        ("x.y", "z"): 14,
        ("x.y", "z", "k.l"): 15,
        ("many",): 16,
        ("many", "n"): 17,
    }
    assert expected == key_lines(TEXT)


def paths(table: dict) -> set:
    found = set()
    for key, value in table.items():
        found.add((key,))
        if isinstance(value, dict):
            found |= {(key, *path) for path in paths(value)}
    return found


@given(
    st.dictionaries(
        st.text(st.characters(codec="ascii", exclude_characters="\x7f"), max_size=5),
        st.dictionaries(st.text(st.sampled_from('a.[]"#= \n'), max_size=4), st.integers(0, 9)),
        max_size=5,
    )
)
def test_every_key_of_any_file_is_found_on_a_line_that_holds_it(tables):
    lines = []
    for name, table in tables.items():
        lines.append(f"[{json.dumps(name)}]")
        lines += [f"{json.dumps(key)} = {value}" for key, value in table.items()]
    found = key_lines("\n".join(lines))
    assert paths(tomllib.loads("\n".join(lines))) == set(found)
    assert all(json.dumps(path[-1]) in lines[number - 1] for path, number in found.items())
