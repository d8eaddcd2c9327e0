"""How do the files of many tasks come into a folder, those of each task into one of its own?

All is looked at before anything is fetched, and then again task by task: what is held at a time are
the files of one task, however many tasks there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..protocol.errors import NotFound
from ..worker.files import File
from .bringing import Brought, bring, chosen, plan
from .received import Far

if TYPE_CHECKING:
    from .connection import Connection


@dataclass(frozen=True, slots=True)
class Member:
    """A task and the folder into which its files go."""

    folder: str
    task: bytes


@dataclass(frozen=True, slots=True)
class Home:
    """What came home of one task; no files where it has none that were asked for."""

    member: Member
    files: list[File]
    done: Brought = field(default_factory=Brought)


def bring_each(
    link: Connection, members: Sequence[Member], names: Sequence[str], to: Path, *, force: bool
) -> Iterator[Home]:
    """Bring the files of each task, all or those of these names, into its folder below `to`.

    Raises Conflict before anything is fetched, NotFound for a name that is no task's.
    """
    unknown = set(names)
    for member in members:
        files, missing = _some(Far(link, member.task), names)
        unknown &= missing
        plan(files, to / member.folder, force=force)
    if unknown:
        raise NotFound(f"none of these tasks has a file {sorted(unknown)[0]!r}", field="name")
    for member in members:
        far = Far(link, member.task)
        files, _ = _some(far, names)
        done = bring(far, files, to / member.folder, force=force) if files else Brought()
        yield Home(member, files, done)


def _some(far: Far, names: Sequence[str]) -> tuple[list[File], set[str]]:
    """Return the files that are meant, and the names that the task does not have."""
    outputs = far.outputs()
    if not names:
        return list(outputs.values()), set()
    found: dict[str, File] = {}
    missing = set()
    for name in names:
        try:
            found |= {file.name: file for file in chosen(outputs, [name])}
        except NotFound:
            missing.add(name)
    return list(found.values()), missing


def why_none(state: str) -> str:
    """Say why a task in this state has no files."""
    if state == "cancelled":
        return "it was cancelled: nothing was stored"
    if state == "failed":
        return "it failed: files are stored of a task that succeeds"
    if state == "succeeded":
        return "this task has no files: it returned none, and no --output was asked for"
    return f"it has not ended yet, it is {state}: files can be had once it has succeeded"
