"""Do interpreter, secrets and fresh become fields, and is a telling variable warned of once?"""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from remuda.client.environment_options import SecretInEnv, telling, warn_of_secrets
from remuda.client.options import to_spec
from remuda.protocol.errors import Invalid, NotFound
from remuda.protocol.spec import to_document


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({"python": "sd"}, {"python": "sd"}),
        ({"secrets": ["HF_TOKEN", "s3=KEY"]}, {"secrets": ["HF_TOKEN", "s3=KEY"]}),
        ({"secret": "hf=HF_TOKEN"}, {"secrets": ["hf=HF_TOKEN"]}),
        ({"secrets": {"hf": "HF_TOKEN"}}, {"secrets": ["hf=HF_TOKEN"]}),
        ({"fresh": True}, {"fresh": True}),
        ({"fresh": False, "python": None, "secrets": []}, {}),
    ],
)
def test_an_option_becomes_a_field(options: dict[str, object], fields: dict[str, object]) -> None:
    made = to_document(to_spec("function", options, target="m:f"))
    assert {"kind": "function", "target": "m:f", **fields} == made


@pytest.mark.parametrize(
    ("options", "field", "words"),
    [
        ({"python": "/usr/bin/python3"}, "python", r"\[pythons\.NAME\]"),
        ({"python": 3}, "python", "allowed is the name"),
        ({"fresh": "yes"}, "fresh", "allowed are True and False"),
        ({"secrets": 5}, "secrets", "allowed are texts"),
        ({"secret": "hf-token"}, "secret", "hf-token=HF_TOKEN"),
        ({"secrets": ["X"], "env": {"X": "1"}}, "secrets", "in the environment"),
        ({"secrets": [f"s{i}" for i in range(33)]}, "secrets", "allowed are 32"),
    ],
)
def test_a_wrong_value_is_refused_with_its_field(
    options: dict[str, object], field: str, words: str
) -> None:
    with pytest.raises(Invalid, match=words) as refused:
        to_spec("function", options, target="m:f")
    assert field == refused.value.field


@pytest.mark.parametrize("env", [{"HF_TOKEN": "x", "A": "b"}, ["HF_TOKEN=x", "A=b"], "HF_TOKEN=x"])
def test_a_telling_variable_is_found_however_it_is_given(env: object) -> None:
    assert ["HF_TOKEN"] == telling(env)


def test_nothing_is_telling_where_there_is_no_environment() -> None:
    assert ([], []) == (telling(None), telling(3))


def test_the_warning_points_at_the_line_that_gave_the_variable_and_not_at_us() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_secrets({"env": {"HF_TOKEN": "hidden"}})
    (warning,) = caught
    assert (SecretInEnv, Path(__file__)) == (warning.category, Path(warning.filename))
    assert "--secret HF_TOKEN" in str(warning.message)
    assert "hidden" not in str(warning.message)


def test_requirements_are_a_file_or_lines_or_text(tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text("six==1.16\n")
    for value in (path, "six==1.16\n", ["six==1.16"]):
        made = to_spec("function", {"requirements": value}, target="m:f")
        assert "six==1.16\n" == made.requirements
    assert "" == to_spec("function", {"requirements": "\n"}, target="m:f").requirements


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("requirements.txt", r"a file is a Path"),
        ("six\n-r base.txt", r"line 2: '-r base.txt' names a file of this host"),
        ("--constraint=c.txt", "names a file"),
        ("-e .", "names a file"),
        ("./wheels/x.whl", "names a file"),
        ("x @ ../x.whl", "names a file"),
        ("x" * 65_537, "allowed are 65536"),
        ("six\n-i https://ann:hidden@host/simple", "line 2: has a password in a URL"),
        (5, "allowed are a Path"),
        (Path("/"), "Is a directory"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_requirements_that_could_not_be_met_elsewhere_are_refused(
    value: object, words: str
) -> None:
    with pytest.raises(Invalid, match=words) as refused:
        to_spec("function", {"requirements": value}, target="m:f")
    assert "requirements" == refused.value.field


@pytest.mark.parametrize(
    "text",
    [
        "six",
        "-i https://h:8/simple",
        "-i https://u:${TOKEN}@h/simple",
        "six>=1 ; python_version < '4'",
        "--no-index",
        "x @ https://h/x.whl",
        "# ./x",
    ],
)
def test_what_a_node_can_find_itself_is_taken(text: str) -> None:
    assert text == to_spec("function", {"requirements": text}, target="m:f").requirements


def test_a_requirements_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no file"):
        to_spec("function", {"requirements": tmp_path / "none.txt"}, target="m:f")
