"""Messages as strategies: every field drawn from its annotation, columns of one length."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from hypothesis import strategies as st

from remuda.protocol import messages as m
from remuda.protocol.codec import INT_MAX

ROWS_MAX = 4

numbers = st.integers(-INT_MAX, INT_MAX) | st.integers(-1, 130)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
blobs = st.binary(max_size=20) | st.binary(min_size=16, max_size=16)
documents = st.dictionaries(
    texts,
    st.recursive(
        st.none() | st.booleans() | numbers | texts | blobs | st.floats(allow_nan=False),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=5,
    ),
    max_size=4,
)
_ATOMS: dict[Any, st.SearchStrategy[Any]] = {
    int: numbers,
    str: texts,
    bytes: blobs,
    bool: st.booleans(),
    dict: documents,
}


def values_of(annotation: Any, rows: int | None = None) -> st.SearchStrategy[Any]:
    """Draw a value for an annotation; a list of `rows` items where that is given."""
    if typing.get_origin(annotation) is not list:
        return _ATOMS[annotation]
    (item,) = typing.get_args(annotation)
    low, high = (0, ROWS_MAX) if rows is None else (rows, rows)
    return st.lists(values_of(item), min_size=low, max_size=high)


@st.composite
def messages_of(draw: st.DrawFn, kind: type[m.Message]) -> m.Message:
    """Draw a message of one type that the codec accepts."""
    hints = typing.get_type_hints(kind)
    rows = draw(st.integers(0, ROWS_MAX))
    return kind(
        **{
            f.name: draw(values_of(hints[f.name], rows if f.name in kind.COLUMNS else None))
            for f in dataclasses.fields(kind)  # type: ignore[arg-type]  # Message has no fields of its own
        }
    )


def any_message() -> st.SearchStrategy[m.Message]:
    return st.sampled_from(list(m.MESSAGES.values())).flatmap(messages_of)


def node_messages() -> st.SearchStrategy[m.Message]:
    """Draw what an authenticated but broken node may say."""
    kinds = (m.Accept, m.Started, m.Reject, m.Progress, m.Heartbeat, m.Results)
    return st.sampled_from(kinds).flatmap(messages_of)
