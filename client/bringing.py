"""How do files of a task come into a folder, over nothing that is there by surprise?"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..protocol.errors import Conflict, NotFound
from ..transfer.hashing import digest_file
from ..worker.files import File

if TYPE_CHECKING:
    from .received import Far

NAMED_MAX = 5
_PATTERN = frozenset("*?[")


@dataclass(slots=True)
class Brought:
    """Where files are now: those that came, and those that were there and are the same."""

    brought: list[Path] = field(default_factory=list)
    same: list[Path] = field(default_factory=list)


def chosen(files: Mapping[str, File], names: Sequence[str]) -> list[File]:
    """Return the files of these names or patterns, all without any; raises NotFound."""
    found: dict[str, File] = {} if names else dict(files)
    for name in names:
        if name in files:
            found[name] = files[name]
            continue
        matching = fnmatch.filter(files, name) if _PATTERN & set(name) else []
        if not matching:
            known = ", ".join(list(files)[:NAMED_MAX]) or "none"
            more = f" and {len(files) - NAMED_MAX} more" if len(files) > NAMED_MAX else ""
            raise NotFound(f"the task has no file {name!r}: it has {known}{more}", field="name")
        found |= {each: files[each] for each in matching}
    return list(found.values())


def check_folder(to: Path) -> None:
    """Raise Conflict where no folder can be, because a file is there."""
    for place in (to, *to.parents):
        if place.exists() and not place.is_dir():
            raise Conflict(f"--to {to}: {place} is a file: name a folder", field="to")


def bring(far: Far, files: Sequence[File], to: Path, *, force: bool = False) -> Brought:
    """Bring files into a folder, under their names; raises like `plan`, then fetches."""
    same, wanted = plan(files, to, force=force)
    for _, target in wanted:
        target.parent.mkdir(parents=True, exist_ok=True)
    far.fetch_all(wanted)
    return Brought([target for _, target in wanted], same)


def plan(
    files: Sequence[File], to: Path, *, force: bool = False
) -> tuple[list[Path], list[tuple[File, Path]]]:
    """Return what is there and the same, which is left alone, and what has to come, with where to.

    Raises Conflict for one that is there and differs, unless told to `force` it, and for a name
    that a link leads out of the folder.
    """
    check_folder(to)
    same: list[Path] = []
    wanted: list[tuple[File, Path]] = []
    differing = []
    root = to.resolve()
    for file in files:
        target = to / file.name
        place = target.parent.resolve()
        if place != root and root not in place.parents:
            raise Conflict(f"{target}: a link leads out of {to} there: nothing was fetched")
        if target.is_dir() and not target.is_symlink():
            raise Conflict(f"{target} is a folder here, and a file of the task: use --to")
        if _is_same(file, target):
            same.append(target)
            continue
        if target.is_symlink() or target.exists():
            differing.append(target)
        wanted.append((file, target))
    if differing and not force:
        named = ", ".join(map(str, differing[:NAMED_MAX]))
        more = f" and {len(differing) - NAMED_MAX} more" if len(differing) > NAMED_MAX else ""
        raise Conflict(
            f"{named}{more}: here already, and different: nothing was fetched; name another "
            "folder (--to DIR), or overwrite with --force"
        )
    return same, wanted


def _is_same(file: File, target: Path) -> bool:
    if target.is_symlink() or not target.is_file() or target.stat().st_size != file.size:
        return False
    return digest_file(target).digest.hex() == file.sha256
