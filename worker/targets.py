"""Which code a call means, and what is said when it is missing or fails."""

from __future__ import annotations

import hashlib
import importlib
import linecache
import sys
import traceback
import types
from collections.abc import Callable
from typing import Any

from .batches import Failure
from .failures import code_of

TRACEBACK_CHARS_MAX = 16 << 10
MESSAGE_CHARS_MAX = 4 << 10
MAIN = "__main__"


class CodeMissing(Exception):  # noqa: N818 - an outcome of a call
    """The target, or a module it imports, is not in this interpreter."""


class Targets:
    """Looks targets up once; holds the one file of a script, if the worker was given one."""

    def __init__(
        self, main_name: str | None, main_source: bytes | None, sha256: str | None
    ) -> None:
        self._main_name = main_name or "<script>"
        self._main_source = main_source
        self._main_sha256 = sha256
        self._found: dict[str, Callable[..., Any]] = {}

    def find(self, target: str) -> Callable[..., Any]:
        """Return what `module:qualname` names; raise CodeMissing, or what the import raises."""
        known = self._found.get(target)
        if known is not None:
            return known
        module_name, _, qualname = target.partition(":")
        if not module_name or not qualname:
            raise CodeMissing(f"{target!r} is not MODULE:FUNCTION")
        try:
            module = self._main() if module_name == MAIN else importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            raise CodeMissing(
                f"{target}: no module {error.name} in {sys.executable}: install it there, "
                "add its folder to [node] python_path, or send it along: --project DIR"
            ) from error
        except ImportError as error:
            raise CodeMissing(f"{target}: {error} (in {sys.executable})") from error
        found: Any = module
        for name in qualname.split("."):
            try:
                found = getattr(found, name)
            except AttributeError as error:
                raise CodeMissing(f"{target}: {module_name} has no {qualname}") from error
        if not callable(found):
            raise CodeMissing(f"{target} is a {type(found).__name__}, nothing to call")
        self._found[target] = found
        return found  # type: ignore[no-any-return]

    def _main(self) -> types.ModuleType:
        """Import the script as multiprocessing's spawn does: its name is not `__main__`."""
        known = sys.modules.get("__mp_main__")
        if known is not None:
            return known
        source = self._main_source
        if source is None:
            raise CodeMissing("this worker was given no script, so it has no __main__ functions")
        if self._main_sha256 and hashlib.sha256(source).hexdigest() != self._main_sha256:
            raise CodeMissing(f"{self._main_name} did not arrive as it was sent")
        module = types.ModuleType("__mp_main__")
        module.__file__ = self._main_name
        # The file is not on this node: tracebacks find their lines here.
        lines = source.decode("utf-8", "replace").splitlines(keepends=True)
        linecache.cache[self._main_name] = (len(source), None, lines, self._main_name)
        before = sys.modules[MAIN]
        sys.modules[MAIN] = sys.modules["__mp_main__"] = module
        try:
            exec(compile(source, self._main_name, "exec"), module.__dict__)  # noqa: S102 - it is what was submitted
        except BaseException:
            del sys.modules["__mp_main__"]
            sys.modules[MAIN] = before
            raise
        return module


def describe(error: BaseException, code: str = "") -> Failure:
    """Say what went wrong in a call, without the worker's own frames."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else _full_name(kind)
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - the user's own __str__
        message = "(its text cannot be shown)"
    lines = traceback.format_exception(kind, error, _users_part(error.__traceback__))
    return Failure(
        code or ("code_missing" if isinstance(error, CodeMissing) else code_of(error)),
        name,
        message[:MESSAGE_CHARS_MAX],
        "".join(lines)[-TRACEBACK_CHARS_MAX:],
    )


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _users_part(trace: types.TracebackType | None) -> types.TracebackType | None:
    own = __package__ or "remuda.worker"
    while trace is not None and trace.tb_frame.f_globals.get("__package__") == own:
        trace = trace.tb_next
    return trace
