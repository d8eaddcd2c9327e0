"""Which values hold: lay the layers over each other, check the whole, remember each origin."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..protocol.errors import NotFound
from .changes import Change, layer_of
from .contradictions import contradictions
from .fields import Section
from .home import ETC
from .layers import Layer, Leaf, Origin, strongest, tree
from .problems import ConfigError
from .schema import UnknownKeyError, dotted, field_at, split_key
from .settings import Settings
from .settings_redis import hide_password
from .sources import DEFAULTS_FILE as DEFAULTS_FILE
from .sources import Read, Sources
from .toml_lines import KeyPath
from .written import written

FOUND_CHARS_MAX = 200
SECRET_KEY = ("redis", "url")  # may hold a password, which is never shown
WORDING = (
    ("Value error, ", ""),
    ("Input should be", "it must be"),
    ("a valid string", "a text"),
    ("a valid integer", "a whole number"),
    ("a valid number", "a number"),
    ("a valid tuple", "a list"),
    ("String should have", "it must have"),
    ("Tuple should have", "it must have"),
    ("Dictionary should have", "it must have"),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of `config show`."""

    key: str
    value: object
    text: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings that hold, and where each of them was set.

    `unknown` are changes of a newer release, which this one leaves alone.
    """

    settings: Settings
    leaves: Mapping[KeyPath, Leaf]
    profile: str = ""
    unknown: tuple[str, ...] = ()

    def get(self, key: str) -> object:
        """Read one value or table by its dotted key; raises NotFound with the keys there are."""
        names = self._names(key)
        value: Any = self.settings
        for name in names:
            if isinstance(value, Mapping) and name not in value:
                raise NotFound(f"{key}: nothing is configured there")
            value = value[name] if isinstance(value, Mapping) else getattr(value, name)
        return value

    def origin(self, key: str) -> Origin:
        """Say where a value was set; what no layer sets stands in the defaults."""
        return _origin(self.leaves, self._names(key))

    def entries(self) -> list[Entry]:
        """List every value with its key and origin, in the order of the models."""
        return [
            Entry(dotted(names), value, written(names[-1], value), _origin(self.leaves, names))
            for names, value in _public(self.settings)
        ]

    @staticmethod
    def _names(key: str) -> KeyPath:
        try:
            return field_at(split_key(key))[0]
        except UnknownKeyError as error:
            raise NotFound(f"{key}: unknown key: {error.args[0]}") from error


def load(
    home: Path | None = None,
    *,
    options: Mapping[str, object] | None = None,
    env: Mapping[str, str] | None = None,
    etc: Path = ETC,
    files: Sequence[Path] = (),
    profile: str = "",
) -> Loaded:
    """Load the configuration of a process once (see `Sources`); raises ConfigError."""
    variables = os.environ if env is None else env
    return combined(Sources(home, options or {}, variables, etc, files, profile).read())


def combined(read: Read, changes: Mapping[str, Change] | None = None) -> Loaded:
    """Lay what operators changed between the layers that were read; raises ConfigError."""
    changed, unknown = layer_of(changes or {})
    leaves = read.weak.under(changed).under(read.strong)
    if leaves.problems:
        raise ConfigError(leaves.problems)
    return Loaded(checked(leaves.found), leaves.found, read.profile, tuple(unknown))


def checked(found: Mapping[KeyPath, Leaf]) -> Settings:
    """Make settings of what the layers say; raises ConfigError."""
    settings = typed(found)
    broken = [
        f"{strongest(_origin(found, key) for key in each.keys)}: "
        + ", ".join(f"{dotted(key)} = {_shown(settings, key)}" for key in each.keys)
        + f": {each.words}"
        for each in contradictions(settings)
    ]
    if broken:
        raise ConfigError(broken)
    return settings


def typed(found: Mapping[KeyPath, Leaf]) -> Settings:
    """Make settings of values each of which is allowed, whether they fit together or not.

    Raises ConfigError.
    """
    try:
        return Settings.model_validate(tree(found))
    except ValidationError as error:
        problems = [_problem(found, dict(detail)) for detail in error.errors()]
        raise ConfigError(problems) from error


def _problem(found: Mapping[KeyPath, Leaf], detail: dict[str, Any]) -> str:
    """Say in one line where a value stands, what it is and what is allowed."""
    names = _setting(tuple(str(part) for part in detail["loc"] if part != "[key]"))
    if detail["type"] == "missing":
        return f"{_origin(found, names[:-1])}: {dotted(names)}: is missing"
    where, key = _origin(found, names), dotted(names)
    leaf = found.get(names)
    shown = _without_password(names, repr(leaf.value if leaf else detail["input"]))
    if len(shown) > FOUND_CHARS_MAX:
        shown = f"{shown[:FOUND_CHARS_MAX]}... ({len(shown)} characters)"
    return f"{where}: {key}: found {shown}; {_allowed(detail, names)}"


def _setting(loc: KeyPath) -> KeyPath:
    """Cut what pydantic adds below a setting (an index, a member of a union) off its path."""
    for length in range(len(loc), 0, -1):
        try:
            field_at(loc[:length])
        except UnknownKeyError:
            continue
        return loc[:length]
    return loc


def _allowed(detail: dict[str, Any], names: KeyPath) -> str:
    context: dict[str, Any] = detail.get("ctx", {})
    for name, words in (("ge", "at least"), ("le", "at most")):
        if name in context:
            return f"it must be {words} {written(names[-1], context[name])}"
    message: str = detail["msg"]
    for pydantics, ours in WORDING:
        message = message.replace(pydantics, ours)
    return message


def _origin(found: Mapping[KeyPath, Leaf], names: KeyPath) -> Origin:
    if names in found:
        return found[names].origin
    inside = [leaf.origin for path, leaf in found.items() if path[: len(names)] == names]
    if inside:
        return strongest(inside)
    return Origin(Layer.DEFAULTS)


def _shown(settings: Settings, names: KeyPath) -> str:
    value: Any = settings
    for name in names:
        value = getattr(value, name)
    return written(names[-1], _without_password(names, value))


def _public(settings: Settings) -> Iterator[tuple[KeyPath, object]]:
    """Yield every value as anybody may see it."""
    return ((names, _without_password(names, value)) for names, value in _walk(settings, ()))


def _without_password(names: KeyPath, value: Any) -> Any:
    return hide_password(value) if names == SECRET_KEY and isinstance(value, str) else value


def _walk(value: Any, names: KeyPath) -> Iterator[tuple[KeyPath, object]]:
    if isinstance(value, Section):
        for name in type(value).model_fields:
            yield from _walk(getattr(value, name), (*names, name))
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _walk(inner, (*names, name))
    else:
        yield names, value
