"""What must not be in a report that leaves this host, and how is it taken out?

Three ways, each for what the others miss: by the name beside a value, by the shape of a value, and
by the secrets that this host is known to hold.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..config.home import Home
from ..config.settings_redis import HIDDEN, hide_password
from ..config.store_home import secret_file
from ..protocol.secret_names import looks_secret

KEY_FILES_MAX = 256
KEY_BYTES_MAX = 16 << 10
SECRET_CHARS_MIN = 8
_TABLE = re.compile(r"^\s*\[+\s*([^\]]+?)\s*\]+")
_ENTRY = re.compile(r"""^(\s*)("[^"]*"|'[^']*'|[A-Za-z0-9_.-]+)(\s*=\s*)(.*)$""")
_ASSIGNED = (
    re.compile(r"\b([A-Za-z][A-Za-z0-9_]{2,255})(=\"?)([^\s\",;]+)"),
    re.compile(r"\"([A-Za-z][A-Za-z0-9_]{2,255})(\": ?\"?)([^\s\",;]+)"),
)
_SHAPES = (
    (re.compile(r"remuda1_[A-Za-z0-9_-]{8,}"), f"remuda1_{HIDDEN}"),
    (re.compile(r"(?i)\b(bearer|basic) +[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {HIDDEN}"),
    (re.compile(r"\b(hf_|sk-|ghp_|xox[a-z]-|AKIA)[A-Za-z0-9_-]{8,}"), rf"\1{HIDDEN}"),
    (re.compile(r"(://[^:@/\s]*):[^@/\s]+@"), rf"\1:{HIDDEN}@"),
)
SECRET_TABLES = frozenset({"env", "secrets"})
"""Whatever stands in a table whose name ends so is somebody's value."""


def known_secrets(home: Home | None) -> list[str]:
    """Read the secret halves of the keys of a home, and the secret of its store."""
    if home is None:
        return []
    found = []
    for path in sorted(home.keys_dir.glob("*.key"))[:KEY_FILES_MAX]:
        text = _read(path)
        try:
            found.append(str(tomllib.loads(text)["secret"]))
        except (tomllib.TOMLDecodeError, KeyError):
            continue
    found.append(_read(secret_file(home)).strip())
    return [each for each in found if len(each) >= SECRET_CHARS_MIN]


def _read(path: Path) -> str:
    try:
        return path.read_bytes()[:KEY_BYTES_MAX].decode("utf-8", "replace")
    except OSError:
        return ""


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Take out what is known to be secret, what looks like it, and what is named so."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    for shape, instead in _SHAPES:
        text = shape.sub(instead, text)
    for assigned in _ASSIGNED:
        text = assigned.sub(_hidden, text)
    return hide_password(text) if "password=" in text.lower() else text


def _hidden(found: re.Match[str]) -> str:
    name, _, value = found.groups()
    return found[0].removesuffix(value) + HIDDEN if looks_secret(name) else found[0]


def redact_toml(text: str, secrets: Sequence[str] = ()) -> str:
    """Take the values out of tables of secrets and environments, and those of telling names."""
    lines: list[str] = []
    hidden = False  # we are in a table of which no value is shown
    for line in text.splitlines():
        if table := _TABLE.match(line):
            hidden = bool(_parts_of(table[1]) & SECRET_TABLES)
            lines.append(line)
        elif entry := _ENTRY.match(line):
            lines.append(_entry(entry, hidden=hidden))
        elif not hidden or not line.strip() or line.lstrip().startswith("#"):
            lines.append(line)  # else: the rest of a value over several lines
    return redact("\n".join(lines) + "\n", secrets)


def _entry(found: re.Match[str], *, hidden: bool) -> str:
    indent, key, sign, value = found.groups()
    if value and (hidden or is_secret(key)):
        return f'{indent}{key}{sign}"{HIDDEN}"'
    return found[0]


def is_secret(key: str) -> bool:
    """Tell whether the value of a dotted key is nobody else's business."""
    last = key.strip("\"'").split(".")[-1]
    return bool(_parts_of(key) & SECRET_TABLES) or looks_secret(last)


def _parts_of(name: str) -> set[str]:
    return {part.strip(" \"'") for part in name.split(".")}
