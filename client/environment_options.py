"""How are a task's interpreter, its environment and its secrets said, and what is worth a word?"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..protocol import secret_names, spec
from .requirements import requirements_text

Fields = dict[str, Any]
PYTHON_CHARS_MAX = 63
_PACKAGE = __package__.partition(".")[0]


class SecretInEnv(UserWarning):
    """A variable in `env` looks like a secret, and all of `env` is stored with the task."""


def text_about(variable: str) -> str:
    """Say what to do with a variable that looks like a secret."""
    return (
        f"env: {variable} looks like a secret, and is stored with the task for whoever may see "
        f"it: keep it on the nodes as [secrets.{variable}] and name it (--secret {variable})"
    )


def telling(env: object) -> list[str]:
    """Return the variables whose names look like those of secrets."""
    if isinstance(env, str):
        env = [env]
    if not isinstance(env, Iterable):
        return []
    variables = (str(each).partition("=")[0] for each in env)
    return [variable for variable in variables if secret_names.looks_secret(variable)]


def warn_of_secrets(options: Mapping[str, object]) -> None:
    """Warn of variables that look like secrets, at the line that gave them to us."""
    for variable in telling(options.get("env")):
        warnings.warn(text_about(variable), SecretInEnv, stacklevel=_frames_of_ours())


def check(made: spec.TaskSpec) -> None:
    """Raise ValueError where secrets contradict each other or the environment."""
    try:
        secret_names.check(made.secrets, made.env)
    except ValueError as error:
        raise ValueError(f"secrets: {error}") from error


def _frames_of_ours() -> int:
    """Count the frames up to the first that is not of this package, as `stacklevel` does."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__")):
        level, frame = level + 1, frame.f_back
    return level


def _is_ours(module: object) -> bool:
    return str(module).partition(".")[0] == _PACKAGE


def _python(value: object) -> Fields:
    if not isinstance(value, str) or len(value) > PYTHON_CHARS_MAX:
        raise ValueError(f"found {value!r}, allowed is the name of one of a node's [pythons]")
    if "/" in value:
        raise ValueError(f"found {value!r}: it is named as in [pythons.NAME] of the nodes")
    return {"python": value}


def _secrets(value: object) -> Fields:
    if isinstance(value, Mapping):
        value = [f"{name}={variable}" for name, variable in value.items()]
    wanted = [value] if isinstance(value, str) else value
    if not isinstance(wanted, Iterable):
        raise TypeError(f"found {value!r}, allowed are texts like HF_TOKEN or hf=HF_TOKEN")
    found = [str(each) for each in wanted]
    if len(found) > spec.SECRETS_MAX:
        raise ValueError(f"found {len(found)}, allowed are {spec.SECRETS_MAX}")
    secret_names.check(found, {})
    return {"secrets": found}


def _fresh(value: object) -> Fields:
    if not isinstance(value, bool):
        raise TypeError(f"found {value!r}, allowed are True and False")
    return {"fresh": value}


READERS: dict[str, Callable[[object], Fields]] = {
    "python": _python,
    "requirements": lambda value: {"requirements": requirements_text(value)},
    "secrets": _secrets,
    "fresh": _fresh,
}
