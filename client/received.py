"""What came home from a task: its value, its files, what it printed?"""

from __future__ import annotations

import contextlib
import functools
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgpack

from ..protocol import claims
from ..protocol.claims import OBJECT_BYTES
from ..protocol.errors import NotFound
from ..protocol.messages import Document, TaskObjects
from ..protocol.trees import unpack_tree
from ..transfer.wants import Want
from ..worker import extensions, large
from ..worker.files import EXEC, FILE, File, Row, read_row
from ..worker.large import MAPPED_BYTES_MIN, map_file
from .depot import rights_of

if TYPE_CHECKING:
    from .connection import Connection
    from .depot import Depot

RIGHT_LEFT_MS_MIN = 60_000
TREE = "tree"
_STORED: bytes = msgpack.packb(msgpack.ExtType(extensions.STORED, bytes(OBJECT_BYTES)))[:3]


@dataclass(slots=True)
class Far:
    """The objects of one task, in the store; what may be read is asked for when it is needed."""

    link: Connection
    task: bytes
    _document: dict[str, Any] = field(default_factory=dict)
    _rights: Mapping[bytes, bytes] = field(default_factory=dict)
    _trees: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def depot(self) -> Depot:
        """Return the store that has them."""
        return self.link.depot

    def document(self) -> dict[str, Any]:
        """Ask which objects the task has, unless that is known; raises NotFound or NotAllowed."""
        if not self._document or self._is_ending():
            self._document = self.link.request(TaskObjects(self.task), Document).body
            self._rights = rights_of(self._document.get("claims") or b"")
        return self._document

    def right(self, digest: bytes) -> bytes:
        """Return the claim by which an object may be read; a tree's is good for its members."""
        self.document()
        claim = self._rights.get(digest) or self._rights.get(self._trees.get(digest, b""))
        if claim is None:
            raise NotFound(f"object {digest.hex()[:12]} does not belong to this task any more")
        return claim

    def fetch(self, row: Row, path: Path) -> None:
        """Write a file to a path, whole and verified."""
        self.fetch_all([(self.file(row), path)])

    def fetch_all(self, files: Sequence[tuple[File, Path]]) -> None:
        """Write files to paths, each whole and verified when it appears."""
        rows = [(file.row, path) for file, path in files if file.row is not None]
        try:
            self.depot.get([self._want(row.digest, row.size, path) for row, path in rows])
        finally:  # what has come before an interrupt is found again by the next try
            for row, path in rows:
                with contextlib.suppress(FileNotFoundError):
                    path.chmod(_mode_of(row.kind))

    def file(self, row: Row) -> File:
        """Return a file that a value names."""
        return File.received(row, source=self)

    def value(self, digest: bytes, size: int) -> memoryview:
        """Return the bytes of a large value; a really large one is mapped from a nameless file."""
        if size < MAPPED_BYTES_MIN:
            return memoryview(bytearray(self.depot.get_bytes(digest, self.right(digest), size)))
        with tempfile.TemporaryDirectory(prefix="remuda-") as folder:
            path = Path(folder, "value")
            self.depot.get([self._want(digest, size, path)])
            return map_file(path)

    def outputs(self) -> dict[str, File]:
        """Return what the task brought home, by name; of a folder each file by itself."""
        found: dict[str, File] = {}
        for said in self.document().get("outputs") or []:
            for row in self._members(said) if _is_tree(said) else [said]:
                with contextlib.suppress(TypeError, ValueError):  # a node said it: it is no file
                    file = self.file(read_row(row))
                    found[file.name] = file
        return found

    def log(self, stream: str) -> BinaryIO | None:
        """Open all that the task printed on `out` or `err`; None where it was not kept whole."""
        said = (self.document().get("logs") or {}).get(stream)
        if not said:
            return None
        digest, size = said
        return self.file(Row(stream, digest, size, FILE)).open()

    def _members(self, said: Sequence[Any]) -> Iterator[Sequence[Any]]:
        name, digest, size, _ = said
        for entry in unpack_tree(self.depot.get_bytes(digest, self.right(digest), size)):
            self._trees[entry.digest] = digest
            inside = entry.name if name == "." else f"{name}/{entry.name}"
            yield [inside, entry.digest, entry.size, entry.kind]

    def _want(self, digest: bytes, size: int, path: Path) -> Want:
        return Want(digest, self.right(digest), size, path)

    def _is_ending(self) -> bool:
        soon = time.time_ns() // 1_000_000 + RIGHT_LEFT_MS_MIN
        return any(claims.read(claim).expires_ms < soon for claim in self._rights.values())


class Files(Mapping[str, File]):
    """The files of a task by name, asked for once; `Client.get` brings them all."""

    def __init__(self, found: Mapping[str, File]) -> None:
        self._found = dict(found)

    def __getitem__(self, name: str) -> File:
        try:
            return self._found[name]
        except KeyError:
            known = ", ".join(self._found) or "none at all"
            raise KeyError(f"{name!r} is no file of this task: it has {known}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        return f"<Files {', '.join(self._found) or 'none'}>"


def is_far(value: bytes) -> bool:
    """Tell whether an encoded value is one that has to be fetched."""
    return value.startswith(_STORED)


def far_size(value: bytes) -> int | None:
    """Return the size of a value that has to be fetched; None for one that is here."""
    return large.read_name(value[len(_STORED) :]).size if is_far(value) else None


def _is_tree(said: Any) -> bool:
    return isinstance(said, (list, tuple)) and len(said) == 4 and said[3] == TREE


def _mode_of(kind: str) -> int:
    """Return the mode of a file that comes home: as if it had been made here."""
    return (0o777 if kind == EXEC else 0o666) & ~_umask()


@functools.cache
def _umask() -> int:
    """Return our umask; to ask the kernel in the usual way would change it for other threads."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    return 0o022
