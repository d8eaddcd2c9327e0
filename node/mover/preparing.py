"""How is the directory of an attempt made: files copied in, objects shown, its code in place?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...protocol.errors import NotFound
from ...protocol.trees import Entry, check_name, unpack_tree
from . import copying
from .cache import Cache
from .directories import Directories
from .projects import Projects
from .transfers import Job, Transfers, rights_of
from .words import Prepare


@dataclass(slots=True)
class Preparing:
    """Makes directories of attempts."""

    cache: Cache
    directories: Directories
    projects: Projects
    shares_blocks: bool

    def prepare(self, job: Job, order: Prepare, transfers: Transfers) -> None:
        """Make all that an attempt needs; raises RemudaError, OSError and GivenUp."""
        rights, sizes = rights_of(order.claims)
        needed = {digest: size for _, digest, size, _ in order.files}
        needed |= {digest: _size(sizes, digest) for digest in order.objects}
        trees = {digest for _, digest, _, kind in order.files if kind == "tree"}
        project = order.project
        if project and not order.is_command and self.projects.join(project, order.name):
            project = b""
        if project:
            needed[project] = _size(sizes, project)
            trees.add(project)
        transfers.obtain(job, rights, needed)
        members = {digest: self._members(digest) for digest in sorted(trees)}
        self._obtain_members(job, members, rights, transfers)
        if project and not order.is_command:
            self.projects.unpack(project, members[project], self.cache, order.name)
        if order.has_directory:
            self._fill(job, order, members)

    def _fill(self, job: Job, order: Prepare, members: dict[bytes, list[Entry]]) -> None:
        """Make the directory; an attempt sees it once all is in it."""
        job.check()
        if not self.shares_blocks:
            self.cache.hold_free(_copied(order, members))
        path = self.directories.make(order.name)
        for digest in order.objects:
            copying.link(self.cache.path(digest), path / "objects" / digest.hex())
        work = path / "work"
        if order.project and order.is_command:
            self._lay_tree(job, work, members[order.project])
        for name, digest, _, kind in order.files:
            if kind == "tree":
                self._lay_tree(job, work / check_name(name), members[digest])
            else:
                self._lay(job, work / check_name(name), digest, kind)

    def _members(self, digest: bytes) -> list[Entry]:
        return unpack_tree(self.cache.path(digest).read_bytes())

    def _obtain_members(
        self,
        job: Job,
        members: dict[bytes, list[Entry]],
        rights: dict[bytes, bytes],
        transfers: Transfers,
    ) -> None:
        """Fetch what trees name: whoever may read a tree may read that."""
        sizes: dict[bytes, int] = {}
        for digest, entries in members.items():
            for entry in entries:
                sizes[entry.digest] = entry.size
                rights.setdefault(entry.digest, rights[digest])
        transfers.obtain(job, rights, sizes)

    def _lay_tree(self, job: Job, folder: Path, entries: list[Entry]) -> None:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        for entry in entries:
            self._lay(job, folder / entry.name, entry.digest, entry.kind)

    def _lay(self, job: Job, target: Path, digest: bytes, kind: str) -> None:
        job.check()
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # a file of the task goes before one of its project
        copying.copy(self.cache.path(digest), target, executable=kind == "exec")


def _copied(order: Prepare, members: dict[bytes, list[Entry]]) -> int:
    """Return how many bytes the copies of an attempt have."""
    trees = [digest for _, digest, _, kind in order.files if kind == "tree"]
    if order.project and order.is_command:
        trees.append(order.project)
    of_trees = sum(entry.size for digest in trees for entry in members[digest])
    return of_trees + sum(size for _, _, size, kind in order.files if kind != "tree")


def _size(sizes: dict[bytes, int], digest: bytes) -> int:
    try:
        return sizes[digest]
    except KeyError:
        raise NotFound(f"object {digest.hex()[:12]}: nothing entitles this node to it") from None
