"""Where configured values come from: read each layer into values that know their origin."""

from __future__ import annotations

import enum
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from .problems import ConfigError
from .schema import (
    UnknownKeyError,
    dotted,
    field_at,
    is_section,
    is_table,
    is_text,
    split_key,
    step,
)
from .settings import Settings
from .toml_lines import KeyPath, key_lines

FILE_BYTES_MAX = 1 << 20
FILES_MAX = 64  # of one directory
ENV_PREFIX = "REMUDA_"
_AT_LINE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


class Layer(enum.Enum):
    """The layers, weakest first; `changed` are changes made by `config set`."""

    DEFAULTS = "defaults"
    ETC = "etc"
    PROFILE = "profile"
    HOME = "home"
    CHANGED = "changed"
    FILE = "file"
    ENV = "env"
    OPTION = "option"


STRENGTH: Final = {layer: rank for rank, layer in enumerate(Layer)}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was set: a file and its line, or the name of a variable or an option."""

    layer: Layer
    file: Path | None = None
    line: int | None = None
    name: str = ""

    def __str__(self) -> str:
        if self.file is not None:
            return f"{self.file}:{self.line}" if self.line else str(self.file)
        kind = "environment" if self.layer is Layer.ENV else self.layer.value
        return f"{kind} {self.name}".rstrip()


@dataclass(frozen=True, slots=True)
class Leaf:
    """A configured value and where it was set; an empty table has no value of its own."""

    value: object
    origin: Origin
    empty_table: bool = False


@dataclass(slots=True)
class Leaves:
    """Values by their path of attribute names, and what was wrong on the way.

    `only` names a table beside which nothing is read.
    """

    only: str = ""
    found: dict[KeyPath, Leaf] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add_file(self, path: Path, layer: Layer) -> None:
        """Read one TOML file; its values replace what weaker layers said."""
        table, lines = _read(path)
        if self.only:
            table = {key: value for key, value in table.items() if key == self.only}

        def origin_of(keys: KeyPath) -> Origin:
            while keys and keys not in lines:
                keys = keys[:-1]
            return Origin(layer, path, lines.get(keys))

        self._flatten(table, Settings, (), (), origin_of)

    def add_directory(self, directory: Path, layer: Layer) -> None:
        """Read the `*.toml` of a directory in the order of their names; none is fine."""
        files = sorted(directory.glob("*.toml"))
        if len(files) > FILES_MAX:
            raise ConfigError([f"{directory}: {len(files)} files are more than {FILES_MAX}"])
        for path in files:
            self.add_file(path, layer)

    def add_environment(self, env: Mapping[str, str]) -> None:
        """Read `REMUDA_SECTION__KEY`; only names with `__` are configuration.

        Names of settings may be in capitals; free keys (as of `tasks.env`) are taken as written.
        """
        for name in sorted(env):
            if name.startswith(ENV_PREFIX) and "__" in name:
                path = _lowered(tuple(name.removeprefix(ENV_PREFIX).split("__")))
                if self.only in ("", path[0]):
                    self._add_one(path, env[name], Origin(Layer.ENV, name=name))

    def add_options(self, options: Mapping[str, object]) -> None:
        """Take options of a command by dotted key; None means that the option was not given."""
        for key, value in options.items():
            if value is not None:
                origin = Origin(Layer.OPTION, name=key)
                try:
                    self._add_one(split_key(key), value, origin)
                except UnknownKeyError as error:
                    self.problems.append(f"{origin}: unknown key: {error.args[0]}")

    def add_values(self, values: Mapping[str, tuple[object, Origin]]) -> None:
        """Take values by dotted key, each with where it comes from: what somebody changed.

        A text is read as TOML where it is one, else as it stands.
        """
        for key, (value, origin) in values.items():
            try:
                self._add_one(split_key(key), value, origin)
            except UnknownKeyError as error:
                self.problems.append(f"unknown key {key}: {error.args[0]}")

    def under(self, stronger: Leaves) -> Leaves:
        """Lay other values over these; both stay as they are."""
        both = Leaves(self.only, dict(self.found), [*self.problems, *stronger.problems])
        for path, leaf in stronger.found.items():
            if leaf.empty_table:
                both.found.setdefault(path, leaf)
            else:
                both.found[path] = leaf
        return both

    def _add_one(self, path: KeyPath, value: object, origin: Origin) -> None:
        try:
            names, annotation = field_at(path)
        except UnknownKeyError as error:
            self.problems.append(f"{origin}: unknown key {'.'.join(path)}: {error.args[0]}")
            return
        if isinstance(value, str) and not is_text(annotation):
            value = _from_text(value)
        self._put(value, annotation, path, names, lambda _: origin)

    def _flatten(
        self,
        table: Mapping[str, object],
        annotation: Any,
        keys: KeyPath,
        names: KeyPath,
        origin_of: Any,
    ) -> None:
        for key, value in table.items():
            path = (*keys, key)
            try:
                name, inner = step(annotation, key)
            except UnknownKeyError as error:
                written = ".".join(path)
                self.problems.append(f"{origin_of(path)}: unknown key {written}: {error.args[0]}")
                continue
            self._put(value, inner, path, (*names, name), origin_of)

    def _put(
        self, value: object, annotation: Any, keys: KeyPath, names: KeyPath, origin_of: Any
    ) -> None:
        origin = origin_of(keys)
        if not is_table(annotation):
            self.found[names] = Leaf(value, origin)
        elif not isinstance(value, Mapping):
            key = dotted(names)
            self.problems.append(f"{origin}: {key}: found {value!r}; it is a table: write [{key}]")
        elif value:
            self._flatten(value, annotation, keys, names, origin_of)
        elif is_section(annotation):
            self.found.setdefault(names, Leaf(None, origin, empty_table=True))


def tree(leaves: Mapping[KeyPath, Leaf]) -> dict[str, Any]:
    """Build the nested tables that the settings models take."""
    root: dict[str, Any] = {}
    for path, leaf in leaves.items():
        table = root
        for name in path[:-1]:
            table = table.setdefault(name, {})
        if leaf.empty_table:
            table.setdefault(path[-1], {})
        else:
            table[path[-1]] = leaf.value
    return root


def strongest(origins: Iterable[Origin]) -> Origin:
    """Pick the origin of the strongest layer, the first one of equals."""
    return max(origins, key=lambda origin: STRENGTH[origin.layer])


def _lowered(path: KeyPath) -> KeyPath:
    """Write the names of settings in lower case and leave free keys as they are."""
    lowered: KeyPath = ()
    annotation: Any = Settings
    for key in path:
        free = not is_section(annotation)
        lowered = (*lowered, key if free else key.lower())
        try:
            annotation = field_at(lowered)[1]
        except UnknownKeyError:
            annotation = Settings
    return lowered


def _from_text(text: str) -> object:
    """Read a variable's text as a TOML value if it is one (`4`, `["a"]`), else as it stands."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if set(parsed) == {"value"} else text


def _read(path: Path) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    if len(raw) > FILE_BYTES_MAX:
        raise ConfigError([f"{path}: is larger than {FILE_BYTES_MAX} bytes"])
    try:
        text = raw.decode()
        return tomllib.loads(text), key_lines(text)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path}:{line}: is not UTF-8"]) from error
    except tomllib.TOMLDecodeError as error:
        at = _AT_LINE.search(str(error))
        line = int(at[1]) if at and at[1] else len(text.splitlines())
        message = _AT_LINE.sub("", str(error))
        raise ConfigError([f"{path}:{line}: is not TOML: {message}"]) from error
