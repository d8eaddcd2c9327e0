"""How is a function named so that a node finds it?"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..protocol.errors import Invalid, ValueTooLarge
from ..protocol.messages import SOURCE_BYTES_MAX
from ..protocol.spec import Kind

MAIN = "__main__"
REMEDY = "move it into a module that the nodes can import, or that goes along (project=)"


@dataclass(frozen=True, slots=True)
class Target:
    """What a TaskSpec says of the function: see there."""

    kind: Kind
    target: str
    source_name: str = ""
    source: bytes = b""


def target_of(function: Callable[..., Any] | str) -> Target:
    """Name a function, or read its name: `module:qualname`, or that of a handler.

    Raises Invalid, saying what to do, for what cannot be found again on a node.
    """
    if isinstance(function, str):
        return _named(function)
    if not callable(function):
        raise _invalid(f"{function!r} is not a function: pass a callable or 'module:function'")
    module, qualname = _name_of(function)
    if module == MAIN:
        return _of_main(function, qualname)
    _check_found(function, sys.modules.get(module) or importlib.import_module(module), qualname)
    return Target("function", f"{module}:{qualname}")


def _named(text: str) -> Target:
    module, colon, qualname = text.partition(":")
    parts = [*module.split("."), *qualname.split(".")] if colon else [text]
    for part in parts if colon else []:
        if not part.isidentifier():
            raise _invalid(
                f"{text!r} is not a function: write it module:qualname, like photos.repair:inpaint"
            )
    if not colon and (not text or any(char.isspace() for char in text)):
        raise _invalid(f"{text!r} is neither module:function nor the name of a handler")
    return Target("function" if colon else "handler", text)


def _name_of(function: Callable[..., Any]) -> tuple[str, str]:
    if isinstance(function, functools.partial):
        raise _invalid(
            "a partial cannot be named: submit its function and hand the arguments to submit()"
        )
    if inspect.ismethod(function) and not inspect.isclass(function.__self__):
        raise _invalid(
            f"{function.__qualname__} is bound to an object, which does not travel: "
            "submit a function that makes the object"
        )
    module = getattr(function, "__module__", None)
    qualname = getattr(function, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualname, str):
        if isinstance(function, types.BuiltinFunctionType):
            raise _invalid(f"{function!r} belongs to no module: wrap it in a function of yours")
        raise _invalid(f"a {type(function).__name__} object has no name: {REMEDY}")
    if "<lambda>" in qualname:
        raise _invalid(
            f"a lambda cannot be found again on a node: give it a name with def; {REMEDY}"
        )
    if "<locals>" in qualname:
        raise _invalid(
            f"{qualname} is defined inside a function, so that a node cannot find it: "
            "define it at the top of its module and hand what it needs as arguments"
        )
    return module, qualname


def _check_found(function: object, module: types.ModuleType, qualname: str) -> None:
    found: object = module
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if found is not function and not (inspect.ismethod(function) and found == function):
        raise _invalid(
            f"{module.__name__}:{qualname} is something else than the function handed in "
            "(replaced by a decorator, or deleted?): submit it by the name under which it is found"
        )


def _of_main(function: object, qualname: str) -> Target:
    """Name a function of the script that runs: by its module's real name, or with its file."""
    main = sys.modules[MAIN]
    _check_found(function, main, qualname)
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name:
        return Target("function", f"{spec.name}:{qualname}")  # started with python -m
    file = getattr(main, "__file__", None)
    if not file or not Path(file).is_file():
        raise _invalid(
            f"{qualname} was typed in, there is no file that could travel to a node: {REMEDY}"
        )
    source = Path(file).read_bytes()
    if len(source) > SOURCE_BYTES_MAX:
        raise ValueTooLarge(
            f"{file} has {len(source)} bytes and a script travels with at most "
            f"{SOURCE_BYTES_MAX}: move what is in it into modules, and send those along (project=)",
            field="function",
        )
    return Target("function", f"{MAIN}:{qualname}", Path(file).name, source)


def _invalid(text: str) -> Invalid:
    return Invalid(text, field="function")
