"""What may be said of a task, and how does it become a TaskSpec?"""

from __future__ import annotations

import dataclasses
import difflib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from ..protocol import failures, resources, spec
from ..protocol.contradictions import check_asks
from ..protocol.errors import Invalid
from ..protocol.spec import TaskSpec
from . import environment_options, freight, resource_options
from .moments import is_from_now, parse_moment_ms
from .readers import Fields, pairs, text, timed, whole
from .when_full import patience_of


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a task is tried again for its own errors, and after which pauses.

    `backoff` is `1s..5m`: the first pause and the longest, doubling between, with full jitter.
    `on` limits these retries to failures of such a code (`exit_code`) or class (`network`);
    after one that `never_on` names no try follows, whatever is left of any budget.
    """

    retries: int = 3
    backoff: str = "1s..5m"
    on: Sequence[str] = ()
    never_on: Sequence[str] = ()


CWD_CHARS_MAX = 4096
_ALIASES = {
    **resource_options.ALIASES,
    "tag": "tags",
    "secret": "secrets",
    "output": "outputs",
}


def to_spec(kind: spec.Kind, options: Mapping[str, object], **fields: Any) -> TaskSpec:
    """Read options in the words of the command line or of Python; None is as if left out.

    Raises TypeError for a name that is no option, Invalid for a value.
    """
    read: Fields = dict(fields)
    patience_of(options)
    for given, value in check_names(options).items():
        name = _ALIASES.get(given, given)
        if value is not None and name not in _ELSEWHERE:
            read |= _read(name, given, value)
    made = TaskSpec(kind, **read)
    _check_texts(made)
    try:
        check_asks(made)
        environment_options.check(made)
    except ValueError as error:
        raise Invalid(str(error), field=str(error).partition(":")[0]) from error
    return made


def to_changes(options: Mapping[str, object]) -> Fields:
    """Read options as the fields that they change of a spec; raises TypeError or Invalid."""
    read: Fields = {}
    for given, value in check_names(options).items():
        name = _ALIASES.get(given, given)
        if name in _ELSEWHERE or name in freight.READERS or name in _NEW_ONLY:
            raise Invalid(f"{given}: belongs to a submission: it cannot change", field=given)
        read |= _read(name, given, value)
    return read


def _check_texts(made: TaskSpec) -> None:
    """Raise Invalid for text that cannot travel: what the shell handed us was not UTF-8."""
    for field in dataclasses.fields(made):
        value = getattr(made, field.name)
        texts = [value] if isinstance(value, str) else value
        if isinstance(value, dict):
            texts = [*value, *value.values()]
        for found in texts if isinstance(texts, list) else ():
            if isinstance(found, str) and not _is_utf8(found):
                raise Invalid(
                    f"{field.name}: {found!r} is not UTF-8 text, and nothing else can travel",
                    field=field.name,
                )


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_names(options: Mapping[str, object]) -> Mapping[str, object]:
    """Return the options; raises TypeError for an unknown name and says the nearest known."""
    for name in options:
        if _ALIASES.get(name, name) not in _READERS and name not in _ELSEWHERE:
            known = [*_READERS, *_ALIASES, *_ELSEWHERE]
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
            raise TypeError(f"{name!r} is not an option of a task: {hint}")
    return options


def moves_on(options: Mapping[str, object]) -> bool:
    """Tell whether the same options mean something else later: `deadline="2h"` does."""
    return is_from_now(options.get("deadline"))


def said_of(options: Mapping[str, object]) -> set[str]:
    """Name the fields that were said and of which a cluster may have defaults of its own."""
    said = {name for name, value in options.items() if value is not None}
    fields = {"grace_ms"} if "grace" in said else set()
    if "backoff" in said or isinstance(options.get("retry"), Retry):
        fields |= {"backoff_first_ms", "backoff_longest_ms"}
    return fields


def once_of(options: Mapping[str, object]) -> str:
    """Return the idempotency key, or nothing."""
    once = options.get("once") or ""
    if not isinstance(once, str):
        raise Invalid(f"once: found {once!r}, a key is text", field="once")
    return once


def _read(name: str, given: str, value: object) -> Fields:
    try:
        return _READERS[name](value)
    except (ValueError, TypeError) as error:
        said = str(error)
        prefixed = said if said.startswith(f"{given}:") else f"{given}: {said}"
        raise Invalid(prefixed, field=given) from error


def _retry(value: object) -> Fields:
    if isinstance(value, Retry):
        on, never_on = _failures("on", value.on), _failures("never_on", value.never_on)
        wanted = {"retry_on": on, "never_on": never_on}
        return _retries(value.retries) | _backoff(value.backoff) | wanted
    return _retries(value)


def _failures(word: str, value: object) -> list[str]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, Iterable):
        raise TypeError(f"{word}: found {value!r}, allowed are codes and classes of failures")
    found = [str(name) for name in names]
    for name in found:
        if name not in failures.KNOWN:
            near = difflib.get_close_matches(name, failures.KNOWN, 1)
            known = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(
                f"{word}: found {name!r}; {known}allowed are {', '.join(sorted(failures.KNOWN))}"
            )
    return list(dict.fromkeys(found))


def _if_node_lost(value: object) -> Fields:
    allowed = get_args(spec.IfNodeLost)
    if value not in allowed:
        raise ValueError(f"found {value!r}, allowed are {', '.join(allowed)}")
    return {"if_node_lost": value}


def _deadline(value: object) -> Fields:
    return {"deadline_ms": parse_moment_ms(value, time.time_ns() // 1_000_000)}


def _backoff(value: object) -> Fields:
    first_s, longest_s = resources.parse_backoff(str(value))
    return {
        "backoff_first_ms": round(first_s * 1000),
        "backoff_longest_ms": round(longest_s * 1000),
    }


def _name(value: object) -> Fields:
    read = text("name", spec.NAME_CHARS_MAX)(value)
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in read["name"]):
        raise ValueError(f"found {value!r}; a name is one line without control characters")
    return read


def _cwd(value: object) -> Fields:
    """Make a directory absolute as the caller sees it: a node has another working directory."""
    read = text("cwd", CWD_CHARS_MAX)
    found = read(value)["cwd"]
    try:
        return read(str(Path(found).expanduser().absolute())) if found else {}
    except RuntimeError as error:  # what pathlib says of a `~name` that is nobody
        raise ValueError(f"found {found!r}: {error}") from error


_retries = whole("retries", spec.RETRIES_MAX)
_READERS: dict[str, Callable[[object], Fields]] = {
    "priority": whole("priority", spec.PRIORITY_MAX),
    "timeout": timed("timeout_ms"),
    "grace": timed("grace_ms"),
    "start_timeout": timed("start_timeout_ms"),
    "silence": timed("silence_ms"),
    "deadline": _deadline,
    "expires": timed("expires_ms"),
    "if_node_lost": _if_node_lost,
    "retries": _retries,
    "retry": _retry,
    "backoff": _backoff,
    "retry_on": lambda value: {"retry_on": _failures("retry_on", value)},
    "never_on": lambda value: {"never_on": _failures("never_on", value)},
    "env": pairs("env", spec.ENV_MAX),
    "cwd": _cwd,
    "name": _name,
    "tags": pairs("tags", spec.TAGS_MAX),
    **resource_options.READERS,
    **environment_options.READERS,
    **freight.READERS,
}
_NEW_ONLY = frozenset({"secrets", "requirements"})
# Of the submission, not of the task.
_ELSEWHERE = frozenset({"once", "allow_infeasible", "when_full"})
