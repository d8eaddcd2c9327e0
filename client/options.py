"""What may be said of a task, and how does it become a TaskSpec?"""

from __future__ import annotations

import dataclasses
import difflib
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from ..protocol import failures, resources, spec
from ..protocol.errors import Invalid
from ..protocol.resources import MILLI
from ..protocol.spec import TaskSpec
from . import environment_options, freight
from .moments import is_from_now, parse_moment_ms
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
LEAST_BYTES = 1 << 20
"""Nobody types less memory: a bare number was meant in another unit."""
Fields = dict[str, Any]
_ALIASES = {
    "node_labels": "labels",
    "node_label": "labels",
    "nodes": "node",
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
        resources.check_request(made.request)
        environment_options.check(made)
    except ValueError as error:
        raise Invalid(str(error), field=str(error).partition(":")[0]) from error
    return made


def _check_texts(made: TaskSpec) -> None:
    """Raise Invalid for text that cannot travel: what the shell handed us was not UTF-8."""
    for field in dataclasses.fields(made):
        value = getattr(made, field.name)
        texts = [value] if isinstance(value, str) else value
        if isinstance(value, dict):
            texts = [*value, *value.values()]
        for text in texts if isinstance(texts, list) else ():
            if isinstance(text, str) and not _is_utf8(text):
                raise Invalid(
                    f"{field.name}: {text!r} is not UTF-8 text, and nothing else can travel",
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
        text = said if said.startswith(f"{given}:") else f"{given}: {said}"
        raise Invalid(text, field=given) from error


def _gpus(value: object) -> Fields:
    number = float(_text_or_number(value, "1, 2 or a share of one card like 0.5"))
    if number == int(number):
        return {"gpus": int(number)}
    if not 0 < number < 1:
        raise ValueError(f"found {value!r}; whole cards, or a share of one between 0 and 1")
    return {"gpu_milli": max(1, round(number * MILLI))}


def _cpus(value: object) -> Fields:
    return {"cpus_milli": round(float(_text_or_number(value, "a number of CPUs")) * MILLI)}


def _sized(field: str) -> Callable[[object], Fields]:
    def read(value: object) -> Fields:
        size = resources.parse_bytes(value)  # type: ignore[arg-type]  # it refuses other types
        if isinstance(value, str) and value.strip().isdecimal() and 0 < size < LEAST_BYTES:
            raise ValueError(
                f"found {value!r}, which is {size} bytes: write a unit, like 512MiB or 12GiB"
            )
        return {field: size}

    return read


def _timed(field: str) -> Callable[[object], Fields]:
    def read(value: object) -> Fields:
        seconds = resources.parse_duration_s(value)  # type: ignore[arg-type]  # it refuses other types
        return {field: round(seconds * 1000)}

    return read


def _whole(field: str, most: int) -> Callable[[object], Fields]:
    def read(value: object) -> Fields:
        number = int(str(value))
        if isinstance(value, bool) or not 0 <= number <= most:
            raise ValueError(f"found {value!r}, allowed is 0..{most}")
        return {field: number}

    return read


def _text(field: str, chars_max: int) -> Callable[[object], Fields]:
    def read(value: object) -> Fields:
        text = str(value) if isinstance(value, (str, Path)) else None
        if text is None or len(text) > chars_max:
            raise ValueError(f"found {value!r}, allowed is text of at most {chars_max} characters")
        return {field: text}

    return read


def _pairs(field: str, most: int) -> Callable[[object], Fields]:
    def read(value: object) -> Fields:
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, Mapping) and isinstance(value, Iterable):
            value = dict(_pair(str(item)) for item in value)
        if not isinstance(value, Mapping) or len(value) > most:
            raise ValueError(f"found {value!r}, allowed are at most {most} pairs of key and value")
        return {field: {str(key): str(item) for key, item in value.items()}}

    return read


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ValueError(f"{text!r} is not KEY=VALUE")
    return key, value


def _nodes(value: object) -> Fields:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, Iterable):
        raise TypeError(f"found {value!r}, allowed are names of nodes")
    return {"nodes": [str(name) for name in names]}


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


def _text_or_number(value: object, allowed: str) -> str | float:
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        try:
            is_number = math.isfinite(float(value))
        except ValueError:
            is_number = False
        if is_number:
            return value
    raise ValueError(f"found {value!r}, allowed is {allowed}")


def _name(value: object) -> Fields:
    read = _text("name", spec.NAME_CHARS_MAX)(value)
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in read["name"]):
        raise ValueError(f"found {value!r}; a name is one line without control characters")
    return read


def _cwd(value: object) -> Fields:
    """Make a directory absolute as the caller sees it: a node has another working directory."""
    read = _text("cwd", CWD_CHARS_MAX)
    found = read(value)["cwd"]
    try:
        return read(str(Path(found).expanduser().absolute())) if found else {}
    except RuntimeError as error:  # what pathlib says of a `~name` that is nobody
        raise ValueError(f"found {found!r}: {error}") from error


_retries = _whole("retries", spec.RETRIES_MAX)
_READERS: dict[str, Callable[[object], Fields]] = {
    "vram": _sized("vram_bytes"),
    "gpus": _gpus,
    "gpu_type": _text("gpu_type", 256),
    "cpus": _cpus,
    "memory": _sized("memory_bytes"),
    "labels": _pairs("labels", spec.TAGS_MAX),
    "node": _nodes,
    "priority": _whole("priority", spec.PRIORITY_MAX),
    "timeout": _timed("timeout_ms"),
    "grace": _timed("grace_ms"),
    "start_timeout": _timed("start_timeout_ms"),
    "silence": _timed("silence_ms"),
    "deadline": _deadline,
    "expires": _timed("expires_ms"),
    "if_node_lost": _if_node_lost,
    "retries": _retries,
    "retry": _retry,
    "backoff": _backoff,
    "retry_on": lambda value: {"retry_on": _failures("retry_on", value)},
    "never_on": lambda value: {"never_on": _failures("never_on", value)},
    "env": _pairs("env", spec.ENV_MAX),
    "cwd": _cwd,
    "name": _name,
    "tags": _pairs("tags", spec.TAGS_MAX),
    **environment_options.READERS,
    **freight.READERS,
}
# Of the submission, not of the task.
_ELSEWHERE = frozenset({"once", "allow_infeasible", "when_full"})
