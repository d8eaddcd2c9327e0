"""How a task names secrets, `NAME` or `NAME=VARIABLE`, and which variables look like one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")
_OURS = re.compile(r"PATH|REMUDA_.*|CUDA_VISIBLE_DEVICES|VIRTUAL_ENV")
_TELLING = re.compile(
    r"((^|_)(TOKEN|PASS|PWD|CREDENTIALS?|(API|ACCESS|PRIVATE|AUTH|ACCOUNT|ENCRYPTION)_KEY)"
    r"|SECRET|PASSWORD|PASSWD|PASSPHRASE|APIKEY)(_|$)"
)
_PLACE = re.compile(r"_(FILE|PATH|DIR|URL|NAME|ID)$")
_INNOCENT = frozenset({"PWD", "OLDPWD"})


def parse(text: str) -> tuple[str, str]:
    """Return the name of a secret and the variable that is to hold it; raises ValueError."""
    name, equals, variable = text.partition("=")
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{text!r} is no secret: write NAME or NAME=VARIABLE, the name with letters, digits, "
            "'.', '_' and '-'"
        )
    if not equals:
        variable = name
    if not _VARIABLE.fullmatch(variable):
        raise ValueError(
            f"{variable!r} cannot be the name of a variable: write it like {name}=HF_TOKEN"
        )
    if _OURS.fullmatch(variable):
        raise ValueError(f"the variable {variable} is not for a secret: choose another name")
    return name, variable


def check(wanted: Iterable[str], env: Mapping[str, str]) -> None:
    """Raise ValueError for what is no secret, or for two values of one variable."""
    seen: set[str] = set()
    for text in wanted:
        _, variable = parse(text)
        if variable in seen:
            raise ValueError(f"the variable {variable} is to hold two secrets")
        if variable in env:
            raise ValueError(f"the variable {variable} is in the environment (env) as well")
        seen.add(variable)


def names(wanted: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the secrets, each once, in order."""
    return tuple(sorted({text.partition("=")[0] for text in wanted}))


def looks_secret(variable: str) -> bool:
    """Tell whether a variable's name says that its value is nobody else's business."""
    upper = variable.upper()
    if upper in _INNOCENT or _PLACE.search(upper):
        return False
    return bool(_TELLING.search(upper))
