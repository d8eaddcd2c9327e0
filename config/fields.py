"""What a value may look like in a configuration file: sizes, durations, names, paths, lists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from ..protocol.resources import BYTES_MAX, DURATION_S_MAX, parse_bytes, parse_duration_s
from ..protocol.selecting import SELECTOR_CHARS_MAX, selector_of

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86400.0
TEXT_CHARS_MAX = 4096
LIST_ITEMS_MAX = 1024
COUNT_MAX = 1_000_000
COUNT_ITEMS_MAX = 64
OPTIONS_MAX = 64
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_UNIT = re.compile(r"_(?:s|bytes)(?=$|_max$|_min$)")


class Section(BaseModel):
    """One table of the configuration: frozen, and closed to keys that it does not name.

    `READERS` are the daemons that go by it; in those of `LIVE_IN` all of it is live.
    """

    READERS: ClassVar[tuple[str, ...]] = ()
    LIVE_IN: ClassVar[tuple[str, ...]] = ()
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def toml_key(field_name: str) -> str:
    """Name a field as it is written in TOML, where the value and not the key carries the unit."""
    return _UNIT.sub("", field_name)


def setting(
    default: object,
    description: str,
    low: float | None = None,
    high: float | None = None,
    *,
    live: bool = False,
    of: str = "",
    fixed: bool = False,
) -> Any:
    """Describe one key: its default, what it is for, and its bounds (both included).

    A change of a `live` one takes effect at once, of any other when a daemon that reads it starts
    again. `of` names the daemons where those are not the ones of the whole table. A `fixed` one is
    needed before changes are known, or is each host's own: files say it, not `config set`.
    """
    said = {"live": live, "of": of, "fixed": fixed}
    extra: dict[str, Any] = {name: value for name, value in said.items() if value}
    return Field(
        default=default, description=description, ge=low, le=high, json_schema_extra=extra or None
    )


def _size(found: object) -> int:
    if isinstance(found, bool) or not isinstance(found, (str, int)):
        message = f"{found!r} is not a size: write it like 512MiB, 12GiB or 80GB"
        raise ValueError(message)  # noqa: TRY004 - pydantic collects only ValueError
    return parse_bytes(found)


def _duration(found: object) -> float:
    if isinstance(found, bool) or not isinstance(found, (str, int, float)):
        message = f"{found!r} is not a duration: write it like 500ms, 30s, 2m or 1h30m"
        raise ValueError(message)  # noqa: TRY004 - pydantic collects only ValueError
    return parse_duration_s(found)


def _path(found: object) -> object:
    if not isinstance(found, (str, Path)):
        return found
    try:
        path = Path(found).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{found!r}: {error}") from error
    if not path.is_absolute():
        raise ValueError("a path must be absolute, or start with ~")
    return path


def _name(found: str) -> str:
    if not _NAME.fullmatch(found):
        raise ValueError("a name has 1 to 63 letters, digits, '.', '_' or '-', no sign at first")
    return found


def _target(found: str) -> str:
    if not _TARGET.fullmatch(found):
        raise ValueError("a target is written package.module:Class")
    return found


def _keywords(found: dict[str, Any]) -> dict[str, Any]:
    for name in found:
        if not name.isidentifier():
            raise ValueError(f"{name!r} is no name of a keyword argument")
    return found


def _selection(found: object) -> object:
    """Take a list for the same, separated by commas."""
    is_list = isinstance(found, list) and all(isinstance(each, str) for each in found)
    return ", ".join(found) if isinstance(found, list) and is_list else found


def _selector(found: str) -> str:
    return str(selector_of(found))


def _items(found: object) -> object:
    return tuple(found) if isinstance(found, list) else found


Bytes = Annotated[int, BeforeValidator(_size), Field(ge=0, le=BYTES_MAX)]
Seconds = Annotated[float, BeforeValidator(_duration), Field(ge=0, le=DURATION_S_MAX)]
Text = Annotated[str, Field(min_length=1, max_length=TEXT_CHARS_MAX)]
Name = Annotated[str, AfterValidator(_name)]
Target = Annotated[str, AfterValidator(_target)]
Selection = Annotated[
    str,
    BeforeValidator(_selection),
    AfterValidator(_selector),
    Field(max_length=SELECTOR_CHARS_MAX),
]
FilePath = Annotated[Path, BeforeValidator(_path)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_items), Field(max_length=LIST_ITEMS_MAX)]
Paths = Annotated[tuple[FilePath, ...], BeforeValidator(_items), Field(max_length=LIST_ITEMS_MAX)]
TextTable = Annotated[
    dict[Text, Annotated[str, Field(max_length=TEXT_CHARS_MAX)]], Field(max_length=LIST_ITEMS_MAX)
]
OptionTable = Annotated[
    dict[Text, Annotated[str, Field(max_length=TEXT_CHARS_MAX)] | bool | int | float],
    AfterValidator(_keywords),
    Field(max_length=OPTIONS_MAX),
]
CountTable = Annotated[
    dict[Text, Annotated[int, Field(ge=1, le=COUNT_MAX)]], Field(max_length=COUNT_ITEMS_MAX)
]
