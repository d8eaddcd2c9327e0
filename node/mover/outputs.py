"""Which files did a task leave that its patterns name?

Patterns are of paths below its directory: `*`, `?` and `[...]` stay within a name, `**` stands for
any folders, and a folder that is named stands for all files in it. Only regular files count: what
is neither file, folder nor link is passed over. A link that leads out of the directory is refused,
as a file is that cannot be read: the task meant it to come home.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from ...protocol.errors import Invalid
from ...protocol.resources import format_bytes
from ...protocol.trees import check_name

FILES_MAX = 20_000
ENTRIES_MAX = 200_000
SHOWN_MAX = 10
MAGIC = re.compile(r"[*?[]")


class OutputError(Exception):
    """What a task left is not what was asked for; `code` says of which kind the failure is."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Output:
    """A file to store: its name below the task's directory, and where it is."""

    name: str
    path: Path
    size: int
    is_executable: bool


def collect(work: Path, patterns: list[str], bytes_max: int) -> list[Output]:
    """Return the files that the patterns name, sorted; raises OutputError."""
    left: list[str] | None = None
    found: dict[str, Output] = {}
    for pattern in patterns:
        clean = pattern.strip("/")
        parts = clean.split("/")
        if pattern.startswith("/") or ".." in parts:
            raise OutputError(
                "output_missing", f"output {pattern!r} is not below the task's directory"
            )
        if MAGIC.search(clean) is None:
            names = _of_name(work, clean)
        else:
            left = _walk(work) if left is None else left
            names = [name for name in left if _matches(parts, name.split("/"))]
        looked = [found.get(name) or _look(work, name) for name in names]
        found |= {output.name: output for output in looked if output is not None}
        if not any(looked):
            left = _walk(work) if left is None else left
            raise OutputError("output_missing", _missing(pattern, left))
        if len(found) > FILES_MAX:
            raise OutputError("output_too_large", f"more than {FILES_MAX} output files")
    total = sum(output.size for output in found.values())
    if total > bytes_max:
        raise OutputError(
            "output_too_large",
            f"the outputs have {format_bytes(total)}, at most {format_bytes(bytes_max)} are taken "
            "([tasks] outputs_max)",
        )
    return [found[name] for name in sorted(found)]


def _of_name(work: Path, name: str) -> list[str]:
    """Return what a name without wildcards stands for."""
    path = work / name
    if path.is_dir() and not path.is_symlink():
        return [f"{name}/{below}" if name != "." else below for below in _walk(path)]
    return [name] if os.path.lexists(path) else []


def _walk(work: Path) -> list[str]:
    """List the files below a folder by their names there; links are not followed."""
    found: list[str] = []
    for folder, folders, names in os.walk(work):
        folders.sort()
        prefix = os.path.relpath(folder, work)
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]  # noqa: PTH114, PTH118 - many
        for name in sorted([*names, *links]):
            found.append(name if prefix == "." else f"{prefix}/{name}")
            if len(found) > ENTRIES_MAX:
                raise OutputError(
                    "output_too_large", f"its directory has more than {ENTRIES_MAX} files"
                )
    return found


def _matches(parts: list[str], names: list[str]) -> bool:
    """Tell whether a name, cut at its slashes, is one of a pattern or below a folder that is."""
    if not parts:
        return True
    if parts[0] == "**":
        rest = parts[1:]
        return not rest or any(_matches(rest, names[at:]) for at in range(len(names)))
    return bool(names) and fnmatchcase(names[0], parts[0]) and _matches(parts[1:], names[1:])


def _look(work: Path, name: str) -> Output | None:
    """Return a regular file, None for what is not stored; raises OutputError."""
    path = work / name
    try:
        check_name(name)
        real = path.resolve(strict=True)
        inside = work.resolve()
        status = real.stat()
    except Invalid as error:
        raise OutputError("output_missing", f"an output cannot travel: {error.message}") from error
    except OSError as error:
        raise OutputError("output_missing", f"output {name}: {error.strerror}") from error
    except RuntimeError as error:  # a loop of links
        raise OutputError("output_missing", f"output {name} is a loop of links") from error
    if not real.is_relative_to(inside):
        raise OutputError(
            "output_missing",
            f"output {name} is a link that leads out of the task's directory: it is not stored",
        )
    if not stat.S_ISREG(status.st_mode):
        return None
    if not os.access(real, os.R_OK):
        raise OutputError("output_missing", f"output {name} cannot be read: permission denied")
    return Output(name, real, status.st_size, bool(status.st_mode & stat.S_IXUSR))


def _missing(pattern: str, left: list[str]) -> str:
    if not left:
        return f"output {pattern!r} matches nothing: the task's directory is empty"
    shown = ", ".join(left[:SHOWN_MAX])
    more = f" and {len(left) - SHOWN_MAX} more" if len(left) > SHOWN_MAX else ""
    return f"output {pattern!r} matches nothing; there are {shown}{more}"
