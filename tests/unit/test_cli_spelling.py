"""Do errors name the option that was typed, not what the client or the wire calls it?"""

import dataclasses

import pytest

from remuda.cli.spelling import OTHERS, as_typed, option_of
from remuda.cli.task_options import TaskOptions
from remuda.protocol.errors import Invalid


@pytest.mark.parametrize(
    ("field", "typed"),
    [
        ("files", "--file"),
        ("outputs", "--output"),
        ("labels", "--node-label"),
        ("gpu_type", "--gpu-type"),
        ("vram_bytes", "--vram"),
        ("specs[0].timeout_ms", "--timeout"),
        ("specs[12].argv", "command"),
    ],
)
def test_an_error_names_the_option(field: str, typed: str) -> None:
    assert f"{typed}: found x" == as_typed(Invalid(f"{field}: found x", field=field))


@pytest.mark.parametrize("text", ["--tag x: write it like KEY=VALUE", "the queue is full"])
def test_what_starts_with_no_field_stays_as_it_is(text: str) -> None:
    assert text == as_typed(Invalid(text, field="tag"))


def test_a_key_of_a_line_has_no_dashes() -> None:
    assert "output: found x" == as_typed(Invalid("outputs: found x", field="outputs"), "")


def test_what_is_put_in_the_place_of_a_field_is_an_option() -> None:
    options = {field.name.rstrip("_") for field in dataclasses.fields(TaskOptions)}
    assert {"command"} == set(OTHERS.values()) - options


def test_names_that_are_the_same_stay() -> None:
    assert ["cwd", "requirements"] == [option_of("cwd"), option_of("requirements")]
