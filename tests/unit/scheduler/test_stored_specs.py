"""Does a starting core read a stored spec as the one that was submitted, whatever it shares?"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from remuda.protocol.codec import pack_document
from remuda.protocol.spec import TaskSpec, to_document
from remuda.scheduler import stored_specs
from remuda.scheduler.stored_specs import StoredSpecs
from remuda.scheduler.task import policy_of

OTHER: dict[str, Any] = {
    "kind": "handler", "if_node_lost": "fence", "alternatives": [{"gpus": 2}], "vram": "auto"
}  # fmt: skip
BY_TYPE: dict[type, Any] = {str: "other", int: 7, bool: True, bytes: b"other", list: ["other"],
                            dict: {"other": "one"}}  # fmt: skip
BASES = (
    TaskSpec(kind="command", argv=["true"]),
    TaskSpec(kind="function", target="module:name"),
    TaskSpec(kind="handler", target="paint"),
)


def changed(base: TaskSpec, field: str) -> TaskSpec:
    """Return a spec that differs in one field."""
    value = OTHER.get(field) or BY_TYPE[type(getattr(base, field))]
    return dataclasses.replace(base, **{field: value})


def as_submitted(spec: TaskSpec) -> tuple[object, ...]:
    return spec.request, policy_of(spec), spec.learns


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(TaskSpec)])
@pytest.mark.parametrize("base", BASES, ids=lambda base: str(base.kind))
def test_specs_that_differ_in_one_field_are_read_each_as_it_was_submitted(
    base: TaskSpec, field: str
) -> None:
    specs, stored = [base, changed(base, field), base], StoredSpecs()
    read = [stored.read(pack_document(to_document(spec))) for spec in specs]
    assert [as_submitted(spec) for spec in specs] == read


def test_commands_that_ask_the_same_share_what_they_ask() -> None:
    stored = StoredSpecs()
    first, second = (
        stored.read(pack_document(to_document(TaskSpec(kind="command", argv=[word], priority=9))))
        for word in ("ls", "df")
    )
    assert (True, True, False) == tuple(a is b for a, b in zip(first, second, strict=True))


def test_specs_are_read_right_when_no_more_are_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stored_specs, "ALIKE_MAX", 2)
    specs, stored = [TaskSpec(kind="command", cpus_milli=n) for n in range(1, 6)], StoredSpecs()
    read = [stored.read(pack_document(to_document(spec))) for spec in specs]
    assert [as_submitted(spec) for spec in specs] == read
