"""Which text of a requirements file travels with a task, and what in it no node could find?"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ..protocol.errors import NotFound
from ..protocol.spec import REQUIREMENTS_CHARS_MAX

_OTHER_FILE = re.compile(
    r"\s*(-r|-c|-e|--requirement|--constraint|--editable)\b|\s*\.{1,2}(/|$)|.*@\s*\.{1,2}/"
)
_PASSWORD = re.compile(r"://[^/\s@$]*:[^/\s@$]+@")
_FILE_NAME = re.compile(r"[\w./~-]*\.(txt|in|toml|lock)")


def requirements_text(value: object) -> str:
    """Return the text of a file (a Path), of lines, or as it is; raises ValueError or NotFound."""
    text = _text(value)
    if len(text) > REQUIREMENTS_CHARS_MAX:
        raise ValueError(f"has {len(text)} characters, allowed are {REQUIREMENTS_CHARS_MAX}")
    if _FILE_NAME.fullmatch(text.strip()):
        raise ValueError(f"found {text!r}: text is taken as it is, a file is a Path({text!r})")
    for number, line in enumerate(text.splitlines(), 1):
        if _OTHER_FILE.match(line):
            raise ValueError(
                f"line {number}: {line.strip()!r} names a file of this host, which does not "
                "travel: write its lines here, or give a package by name or URL"
            )
        if _PASSWORD.search(line):
            raise ValueError(
                f"line {number}: has a password in a URL, and all of it is stored with the task: "
                "put it into the configuration of pip or uv on the nodes"
            )
    return text if text.strip() else ""


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Path):
        try:
            return value.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            text = f"requirements: there is no file {error.filename}"
            raise NotFound(text, field="requirements") from error
        except OSError as error:
            raise ValueError(f"{value}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"{value}: is not UTF-8 text") from error
    if isinstance(value, Iterable):
        return "\n".join(map(str, value)) + "\n"
    raise TypeError(f"found {value!r}, allowed are a Path, text, or lines")
