"""Which files does a folder have that is sent as a whole: with a task, or as its code?"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..protocol.errors import Invalid, NotFound
from ..protocol.resources import format_bytes
from ..protocol.store_messages import TREE_ENTRIES_MAX
from ..protocol.trees import Entry, check_name, pack_tree
from ..transfer.hashing import digest_bytes
from ..transfer.wants import Source
from ..worker.files import kind_of
from .digests import Digests

OnRead = Callable[[int, int], None]
"""Hears how many bytes were read so far, of how many."""
PROJECT_BYTES_MAX = 512 << 20
LARGEST_NAMED = 5
GIT_TIMEOUT_S = 60.0
EXCLUDED = frozenset(
    {
        ".git", ".hg", ".svn", "__pycache__", ".venv", "venv", "node_modules", ".tox", ".nox",
        ".mypy_cache", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints", ".DS_Store",
    }
)  # fmt: skip
"""What is left out of code where git does not say what belongs to it."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder ready to be sent: the tree that names its files, then they themselves.

    `untracked` counts what git does not track; `read` the files whose bytes had to be read.
    """

    digest: bytes
    size: int
    sources: Sequence[Source]
    files: int
    total_bytes: int
    untracked: int = 0
    read: int = 0


@dataclass(frozen=True, slots=True)
class _Found:
    name: str
    path: Path
    status: os.stat_result


def folder(
    path: Path,
    field: str = "files",
    digests: Digests | None = None,
    *,
    on_read: OnRead | None = None,
) -> Folder:
    """Prepare a folder with all that is in it; raises Invalid or NotFound."""
    _check_folder(path, field)
    found = [_look(path, name, field) for name in _walk(path, frozenset(), field)]
    return _prepared(
        [each for each in found if each], digests or Digests(path.absolute()), on_read=on_read
    )


def project(path: Path, digests: Digests | None = None, *, on_read: OnRead | None = None) -> Folder:
    """Prepare code: what git tracks, as it is on disk, or what is there but for `EXCLUDED`.

    Raises Invalid, which names the largest files where it is too large.
    """
    _check_folder(path, "project")
    tracked = _tracked(path)
    untracked = 0
    if tracked is None:
        names: Iterable[str] = _walk(path, EXCLUDED, "project")
    else:
        names, untracked = tracked
    looked = (_look(path, name, "project", is_strict=False) for name in names)
    found = [each for each in looked if each is not None]
    _check_size(path, found)
    return _prepared(found, digests or Digests(path.absolute()), untracked, on_read=on_read)


def _prepared(
    found: list[_Found], digests: Digests, untracked: int = 0, *, on_read: OnRead | None
) -> Folder:
    entries, sources = [], []
    before, total = 0, sum(each.status.st_size for each in found)

    def tell(count: int) -> None:
        if on_read is not None:
            on_read(before + count, total)

    for each in found:
        digest, size = digests.of(each.path, each.status, tell)
        before += size
        entries.append(Entry(each.name, digest, size, kind_of(each.status.st_mode)))
        sources.append(Source(each.path, digest, size))
    digests.save()
    blob = pack_tree(entries)
    tree = digest_bytes(blob)
    return Folder(
        tree.digest,
        tree.size,
        [Source(blob, tree.digest, tree.size, tree=True), *sources],
        len(entries),
        sum(entry.size for entry in entries),
        untracked,
        digests.read,
    )


def _check_folder(path: Path, field: str) -> None:
    if not path.exists():
        raise NotFound(f"{field}: there is no folder {path}", field=field)
    if not path.is_dir():
        raise Invalid(f"{field}: {path} is no folder", field=field)


def _check_size(path: Path, found: list[_Found]) -> None:
    total = sum(each.status.st_size for each in found)
    if len(found) <= TREE_ENTRIES_MAX and total <= PROJECT_BYTES_MAX:
        return
    largest = sorted(found, key=lambda each: each.status.st_size, reverse=True)[:LARGEST_NAMED]
    named = ", ".join(f"{each.name} ({format_bytes(each.status.st_size)})" for each in largest)
    raise Invalid(
        f"project: {path} has {len(found):,} files with {format_bytes(total)}, allowed are "
        f"{TREE_ENTRIES_MAX:,} with {format_bytes(PROJECT_BYTES_MAX)}; the largest are {named}: "
        "leave data out of the code and send it with files= (--file)",
        field="project",
    )


def _look(root: Path, name: str, field: str, *, is_strict: bool = True) -> _Found | None:
    """Look at one file; None for what is not there any more, or is no file in code."""
    path = root / name
    try:
        status = path.stat()
    except FileNotFoundError:
        if not is_strict:
            return None  # deleted, and git still tracks it
        raise NotFound(f"{field}: {path} is a link to nothing", field=field) from None
    except OSError as error:
        raise Invalid(f"{field}: {path}: {error.strerror}", field=field) from error
    if stat.S_ISREG(status.st_mode):
        try:
            return _Found(check_name(name), path, status)
        except (Invalid, UnicodeEncodeError) as error:
            raise Invalid(f"{field}: {path!r} cannot travel: {error}", field=field) from error
    if is_strict:
        raise Invalid(
            f"{field}: {path} is neither a file nor a folder, or a link to a folder", field=field
        )
    return None


def _walk(root: Path, excluded: frozenset[str], field: str) -> Iterator[str]:
    """Name all files below a folder; links to folders are not followed."""

    def refuse(error: OSError) -> None:
        raise Invalid(f"{field}: {error.filename}: {error.strerror}", field=field) from error

    count = 0
    for place, folders, files in os.walk(root, onerror=refuse):
        links = [name for name in folders if Path(place, name).is_symlink()]
        folders[:] = sorted(set(folders) - excluded - set(links))
        for name in sorted([*files, *(links if not excluded else [])]):
            if name in excluded or (excluded and name.endswith(".pyc")):
                continue
            count += 1
            if count > TREE_ENTRIES_MAX:
                raise Invalid(
                    f"{field}: {root} has more than {TREE_ENTRIES_MAX:,} files: send an archive",
                    field=field,
                )
            yield os.path.relpath(Path(place, name), root)


def _tracked(root: Path) -> tuple[list[str], int] | None:
    """Return what git tracks below a folder, and how much it does not; None without git."""
    if shutil.which("git") is None or not _is_in_repository(root):
        return None
    names = _git(root, "ls-files", "-z", "--recurse-submodules")
    others = _git(root, "ls-files", "-z", "--others", "--exclude-standard")
    return names, len(others)


def _is_in_repository(root: Path) -> bool:
    place = root.resolve()
    return any((folder / ".git").exists() for folder in (place, *place.parents))


def _git(root: Path, *words: str) -> list[str]:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words],
            capture_output=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _silent_git(root, str(error)) from error
    if done.returncode:
        raise _silent_git(root, done.stderr.decode(errors="replace").strip().split("\n")[0])
    return sorted({os.fsdecode(name) for name in done.stdout.split(b"\0") if name})


def _silent_git(root: Path, said: str) -> Invalid:
    return Invalid(f"project: git does not say what it tracks in {root}: {said}", field="project")
