"""Does a spec survive its document, and is what it asks for what placement sees?"""

import dataclasses
import typing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remuda.protocol import codec
from remuda.protocol.resources import Request
from remuda.protocol.spec import (
    NAME_CHARS_MAX,
    FileRow,
    TaskSpec,
    from_document,
    to_document,
    with_entry,
)

from ...fakes.hostile import blobs, documents, texts, values_of

HINTS = typing.get_type_hints(TaskSpec)
_ROWS = st.builds(
    FileRow, blobs, st.integers(0, 1 << 40), st.sampled_from(["file", "exec", "tree"])
)
_DRAWN = {
    dict[str, str]: st.dictionaries(texts, texts, max_size=3),
    dict[str, FileRow]: st.dictionaries(texts, _ROWS, max_size=3),
    dict[str, int]: st.dictionaries(texts, st.integers(0, 9), max_size=3),
    list[dict[str, Any]]: st.lists(documents, max_size=2),
}


def field_values(name: str) -> st.SearchStrategy[object]:
    hint = HINTS[name]
    if typing.get_origin(hint) is typing.Literal:
        return st.sampled_from(typing.get_args(hint))
    return _DRAWN[hint] if hint in _DRAWN else values_of(hint)


specs = st.fixed_dictionaries(
    {"kind": field_values("kind")},
    optional={f.name: field_values(f.name) for f in dataclasses.fields(TaskSpec)[1:]},
).map(lambda fields: TaskSpec(**fields))


@given(specs)
@settings(derandomize=True, deadline=None)
def test_a_spec_comes_back_from_its_encoded_document(spec: TaskSpec) -> None:
    blob = codec.pack_document(to_document(spec))
    assert spec == from_document(codec.unpack_document(blob))


def test_a_document_leaves_defaults_out() -> None:
    assert {"kind": "command", "argv": ["true"]} == to_document(TaskSpec("command", ["true"]))


def test_fields_of_a_newer_version_are_dropped() -> None:
    assert TaskSpec("command") == from_document({"kind": "command", "moon_phase": "full"})


def test_a_document_without_a_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="kind"):
        from_document({"argv": ["true"]})


def test_the_request_is_the_same_whatever_the_order_of_labels_and_nodes() -> None:
    one = TaskSpec("command", labels={"a": "1", "b": "2"}, nodes=["n1", "n2"])
    other = TaskSpec("command", labels={"b": "2", "a": "1"}, nodes=["n2", "n1"])
    assert one.request == other.request
    assert hash(one.request) == hash(other.request)


def test_only_a_handler_asks_for_a_handler() -> None:
    assert "repair" == TaskSpec("handler", target="repair").request.handler
    assert Request() == TaskSpec("function", target="m:f").request


@pytest.mark.parametrize(
    ("spec", "label"),
    [
        (TaskSpec("command", ["echo", "a b"]), "echo a b"),
        (TaskSpec("command", ["echo"], name="greet"), "greet"),
        (TaskSpec("function", target="m:f"), "m:f"),
        (TaskSpec("command", ["x" * 500]), "x" * NAME_CHARS_MAX),
    ],
)
def test_people_see_a_name_or_what_runs(spec: TaskSpec, label: str) -> None:
    assert label == spec.label


@pytest.mark.parametrize(
    ("argv", "made"),
    [
        (["cp", "{}", "{}.bak"], ["cp", "a b", "a b.bak"]),
        (["echo", "{", "}"], ["echo", "{", "}"]),
    ],
)
def test_an_entry_stands_for_each_pair_of_braces(argv: list[str], made: list[str]) -> None:
    assert made == with_entry(argv, "a b")


def test_an_entry_is_not_looked_through_for_braces() -> None:
    assert ["{}{}"] == with_entry(["{}"], "{}{}")


def test_only_a_node_that_knows_of_entries_runs_a_command_with_one() -> None:
    assert [1, 3] == [
        TaskSpec("command", ["echo", "{}"], each=each).request.protocol for each in (False, True)
    ]
