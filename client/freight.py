"""Which options of a task bring files along, and how do they become objects that a spec names?"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..protocol import spec
from ..protocol.resources import format_bytes
from ..protocol.spec import FileRow
from ..transfer.hashing import Digest, digest_bytes, digest_file
from ..transfer.wants import Source
from ..worker.files import File, checked_name, kind_of
from . import folders
from .received import TREE
from .shipment import regular

if TYPE_CHECKING:
    from .depot import Depot

Fields = dict[str, Any]
OUTPUT_CHARS_MAX = 1_024
EMPTY_PATH = "name what is to be sent ('.' is the current folder), or leave the option out"
_BRINGING = ("files", "project", "stdin")


class Loaded(NamedTuple):
    """An option of which all is in the store: the fields of the spec that it becomes."""

    fields: Fields


def brings(options: Mapping[str, object]) -> bool:
    """Tell whether options bring something along, which may be another thing the next time."""
    return any(options.get(name) for name in _BRINGING)


def ready(options: Mapping[str, object], depot: Depot) -> Mapping[str, object]:
    """Bring to the store what options name; return them with what it is called there.

    Raises NotFound or Invalid, which name the option, and what the store refuses with.
    """
    if not brings(options):
        return options
    made, sources = dict(options), list[Source]()
    for name, load in _LOADERS.items():
        given = options.get(name)
        if given and not isinstance(given, Loaded):
            fields = load(given, sources, depot)
            if fields is not None:
                made[name] = Loaded(fields)
    if sources:
        depot.put(sources)
    return made


def _load_files(given: object, sources: list[Source], depot: Depot) -> Fields:
    rows = {}
    for name, path in named(given).items():
        if path.is_dir():
            found = folders.folder(path, on_read=depot.telling_read())
            sources += found.sources
            rows[name] = FileRow(found.digest, found.size, TREE)
        else:
            status = regular(path, "files")
            digest, size = _digest(path, status.st_size, depot)
            sources.append(Source(path.absolute(), digest, size))
            rows[name] = FileRow(digest, size, kind_of(status.st_mode))
    return {"files": rows}


def _load_project(given: object, sources: list[Source], depot: Depot) -> Fields:
    found = folders.project(Path(str(given)).expanduser(), on_read=depot.telling_read())
    sources += found.sources
    left = f"; {found.untracked:,} that git does not track stay here" if found.untracked else ""
    noun = "file" if found.files == 1 else "files"
    depot.say(f"project: {found.files:,} {noun}, {format_bytes(found.total_bytes)}{left}")
    return {"project": found.digest}


def _load_stdin(given: object, sources: list[Source], depot: Depot) -> Fields | None:
    """Make an object of what is too large to travel with the task; None for what is not."""
    if isinstance(given, Path):
        known = regular(given, "stdin").st_size
        if known <= spec.STDIN_BYTES_MAX:
            return None
        digest, size = _digest(given, known, depot)
        sources.append(Source(given.absolute(), digest, size))
        return {"stdin_object": digest}
    blob = given.encode() if isinstance(given, str) else given
    if not isinstance(blob, bytes) or len(blob) <= spec.STDIN_BYTES_MAX:
        return None
    digest, size = digest_bytes(blob)
    sources.append(Source(blob, digest, size))
    return {"stdin_object": digest}


def _digest(path: Path, size: int, depot: Depot) -> Digest:
    """Read a file, and tell how far that is."""
    tell = depot.telling_read()
    return digest_file(path, None if tell is None else lambda count: tell(count, size))


def named(given: object) -> dict[str, Path]:
    """Read `files`: a mapping of names to local paths, or a list of paths; raises ValueError."""
    pairs: Iterable[tuple[object, object]]
    if isinstance(given, Mapping):
        pairs = given.items()
    elif isinstance(given, (str, os.PathLike)):
        pairs = [(None, given)]
    elif isinstance(given, Iterable):
        pairs = [(None, each) for each in given]
    else:
        raise TypeError(f"found {given!r}, allowed are paths, or names with paths")
    found: dict[str, Path] = {}
    for name, place in pairs:
        if not isinstance(place, (str, os.PathLike)):
            raise TypeError(f"found {place!r}, allowed are paths")
        if place == "":
            raise ValueError(f"found an empty path: {EMPTY_PATH}")
        path = Path(place).expanduser()
        wanted = name or (place.name if isinstance(place, File) else path.absolute().name)
        known = checked_name(wanted)
        if known in found:
            raise ValueError(f"two of them are called {known!r}: give one another name")
        found[known] = path
    if len(found) > spec.FILES_MAX:
        raise ValueError(
            f"found {len(found)}, allowed are {spec.FILES_MAX}: put them into a folder, send that"
        )
    return found


def _files(value: object) -> Fields:
    if isinstance(value, Loaded):
        return value.fields
    return {"files": dict.fromkeys(named(value), FileRow(b"", 0, "file"))}


def _project(value: object) -> Fields:
    if isinstance(value, Loaded):
        return value.fields
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"found {value!r}, allowed is the path of a folder")
    if value == "":
        raise ValueError(f"found an empty path: {EMPTY_PATH}")
    return {}


def _outputs(value: object) -> Fields:
    globs = [value] if isinstance(value, (str, os.PathLike)) else value
    if not isinstance(globs, Iterable):
        raise TypeError(f"found {value!r}, allowed are patterns like '*.png'")
    found = [os.fspath(each) for each in globs]
    if len(found) > spec.OUTPUTS_MAX:
        raise ValueError(f"found {len(found)}, allowed are {spec.OUTPUTS_MAX}")
    for text in found:
        parts = text.split("/")
        if not text or text.startswith("/") or ".." in parts or len(text) > OUTPUT_CHARS_MAX:
            raise ValueError(f"found {text!r}: a pattern is relative to the task's directory")
    return {"outputs": list(dict.fromkeys(found))}


def _stdin(value: object) -> Fields:
    """Read what is small enough to travel with the task; `ready` has seen to all else."""
    if isinstance(value, Loaded):
        return value.fields
    if isinstance(value, Path):
        size = regular(value, "stdin").st_size
        value = value.read_bytes() if size <= spec.STDIN_BYTES_MAX else b""
    blob = value.encode() if isinstance(value, str) else value
    if not isinstance(blob, bytes):
        raise TypeError(f"found {type(value).__name__}, allowed are bytes, text or a Path")
    return {"stdin": blob} if len(blob) <= spec.STDIN_BYTES_MAX else {}


def _keep_log(value: object) -> Fields:
    if not isinstance(value, bool):
        raise TypeError(f"found {value!r}, allowed are True and False")
    return {"keep_log": value}


READERS: dict[str, Callable[[Any], Fields]] = {
    "files": _files,
    "project": _project,
    "outputs": _outputs,
    "keep_log": _keep_log,
    "stdin": _stdin,
}

_LOADERS: dict[str, Callable[[object, list[Source], Depot], Fields | None]] = {
    "files": _load_files,
    "project": _load_project,
    "stdin": _load_stdin,
}
