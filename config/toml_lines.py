"""On which line of a TOML text does each key stand."""

from __future__ import annotations

import tomllib

KeyPath = tuple[str, ...]


def key_lines(text: str) -> dict[KeyPath, int]:
    """Map each key and table of a valid TOML text to the line, from 1, that first names it.

    A statement is grown line by line until it parses, so that what looks like a key inside a
    multi-line value is not taken for one.
    """
    found: dict[KeyPath, int] = {}
    header: KeyPath = ()
    statement, first = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        if not statement:
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            first = number
        statement += line + "\n"
        try:
            parsed = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        if statement.lstrip().startswith("["):
            header = _only_path(parsed)
            _note(found, header, first)
        else:
            for path in _paths(parsed):
                _note(found, header + path, first)
        statement = ""
    return found


def _note(found: dict[KeyPath, int], path: KeyPath, line: int) -> None:
    for length in range(1, len(path) + 1):
        found.setdefault(path[:length], line)


def _only_path(parsed: object) -> KeyPath:
    """Read the path out of the parse of one table header."""
    path: KeyPath = ()
    while parsed:
        if isinstance(parsed, list):
            parsed = parsed[-1]
        elif isinstance(parsed, dict):
            key = next(iter(parsed))
            path, parsed = (*path, key), parsed[key]
    return path


def _paths(table: dict[str, object]) -> list[KeyPath]:
    paths: list[KeyPath] = []
    for key, value in table.items():
        deeper = _paths(value) if isinstance(value, dict) else []
        paths += [(key, *path) for path in deeper] or [(key,)]
    return paths
