"""Is a secret named in one way, and is a variable that looks like one told from others?"""

import pytest

from remuda.protocol import secret_names
from remuda.protocol.spec import TaskSpec


@pytest.mark.parametrize(
    ("text", "expected"),
    [("HF_TOKEN", ("HF_TOKEN", "HF_TOKEN")), ("hf-1=HF_TOKEN", ("hf-1", "HF_TOKEN"))],
)
def test_a_secret_is_a_name_with_or_without_a_variable(text: str, expected: object) -> None:
    assert expected == secret_names.parse(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no secret"),
        ("a b", "is no secret"),
        ("=X", "is no secret"),
        ("hf-token", "write it like hf-token=HF_TOKEN"),
        ("hf=1X", "write it like hf=HF_TOKEN"),
        ("hf=", "write it like hf=HF_TOKEN"),
        ("hf=PATH", "not for a secret"),
        ("REMUDA_TASK_ID", "not for a secret"),
    ],
)
def test_what_cannot_be_a_secret_says_what_to_write(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        secret_names.parse(text)


@pytest.mark.parametrize(
    ("wanted", "env", "words"),
    [
        (["a=X", "b=X"], {}, "is to hold two secrets"),
        (["X"], {"X": "1"}, r"in the environment \(env\) as well"),
    ],
)
def test_a_variable_has_one_value(wanted: list[str], env: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        secret_names.check(wanted, env)


def test_a_node_is_asked_for_names_and_not_for_variables() -> None:
    spec = TaskSpec("command", secrets=["hf=B", "hf=A", "api=C"])
    assert ("api", "hf") == spec.request.secrets


@pytest.mark.parametrize(
    "variable",
    ["HF_TOKEN", "token", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD_2", "DB_PASSWORD", "OPENAI_API_KEY",
     "MY_CREDENTIALS", "APIKEY", "SSH_PASSPHRASE", "GIT_PASS", "TOKEN_2"],
)  # fmt: skip
def test_a_variable_that_looks_like_a_secret_is_found(variable: str) -> None:
    assert secret_names.looks_secret(variable)


@pytest.mark.parametrize(
    "variable",
    ["TOKENIZERS_PARALLELISM", "MAX_TOKENS", "PWD", "PASSWORD_FILE", "KEYBOARD", "PASSES",
     "SECRETARY", "KEY", "BYPASS", "TOKEN_PATH", "CUDA_VISIBLE_DEVICES"],
)  # fmt: skip
def test_a_variable_that_looks_like_none_is_left_alone(variable: str) -> None:
    assert not secret_names.looks_secret(variable)
