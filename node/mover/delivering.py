"""What of an attempt goes to the store when its process has ended: outputs, values, logs?"""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...protocol.claims import OBJECTS_PER_TASK_MAX
from ...protocol.errors import Conflict
from ...protocol.trees import Entry, pack_tree
from ...transfer import Source, digest_bytes, digest_file
from .directories import Directories
from .outputs import Output, OutputError, collect
from .transfers import Job, Transfers, join
from .words import Deliver, Delivered

RETURNED = "returned.json"
RETURNED_BYTES_MAX = 8 << 20
ROWS_MAX = 32
"""With more files than this the outputs of a task are one tree."""
ALL_OUTPUTS = "."
"""The name of that tree: the task's directory itself."""
STREAMS = ("out", "err")
_TOTAL = struct.Struct("<Q")
COPY_BYTES = 1 << 20


@dataclass(slots=True)
class Parcel:
    """What goes to the store for one attempt; `sources` before the trees that name them."""

    sources: list[Source]
    trees: list[Source]
    outputs: list[tuple[str, bytes, int, str]]
    logs: dict[str, tuple[bytes, int]]
    named: list[bytes]
    """The objects that the result itself names: those of which it needs claims."""


@dataclass(slots=True)
class Delivering:
    """Stores what attempts left."""

    directories: Directories
    outputs_bytes_max: int

    def deliver(self, job: Job, order: Deliver, transfers: Transfers) -> Delivered:
        """Store all of it; raises OutputError, RemudaError, OSError and GivenUp."""
        path = self.directories.visit(order.name)
        parcel = Parcel([], [], [], {}, [])
        if order.returns:
            self._add_returned(job, parcel, path)
        if order.patterns:
            self._add_outputs(job, parcel, path / "work", order.patterns)
        with _logs(order.logs_dir, self.directories.root) as logs:
            room = OBJECTS_PER_TASK_MAX - len(dict.fromkeys(parcel.named))
            for stream, file in list(logs.items())[: max(0, room)]:
                source = _of_file(job, file)
                parcel.sources.append(source)
                parcel.logs[stream] = source.digest, source.size
                parcel.named.append(source.digest)
            claims = self._store(job, parcel, transfers)
        return Delivered(order.name, parcel.outputs, parcel.logs, claims)

    def _add_outputs(self, job: Job, parcel: Parcel, work: Path, patterns: list[str]) -> None:
        found = collect(work, patterns, self.outputs_bytes_max)
        entries = [_entry(job, parcel, output) for output in found]
        if len(entries) <= min(ROWS_MAX, OBJECTS_PER_TASK_MAX - len(parcel.named)):
            rows: list[tuple[str, bytes, int, str]] = [(*entry,) for entry in entries]
            parcel.outputs += [row for row in rows if row not in parcel.outputs]
            parcel.named += [entry.digest for entry in entries]
            return
        tree = _of_bytes(pack_tree(entries))
        parcel.trees.append(tree)
        parcel.outputs.append((ALL_OUTPUTS, tree.digest, tree.size, "tree"))
        parcel.named.append(tree.digest)

    def _add_returned(self, job: Job, parcel: Parcel, path: Path) -> None:
        """Add the files that a function returned, and its value where that is an object."""
        root = path.resolve()
        for name, place, kind, digest in _returned(path / RETURNED):
            file = (root / place).resolve()
            if not file.is_relative_to(root):
                raise OutputError("output_missing", f"{place} is not in the task's directory")
            # Hashed here: whoever only names an object gets no claim of it.
            source = _of_file(job, file)
            if source.digest != digest:
                raise OutputError("output_missing", f"{place} was changed after it was returned")
            parcel.sources.append(source)
            parcel.named.append(source.digest)
            row = (name, source.digest, source.size, kind)
            if name and row not in parcel.outputs:
                parcel.outputs.append(row)

    def _store(self, job: Job, parcel: Parcel, transfers: Transfers) -> bytes:
        named = dict.fromkeys(parcel.named)
        if len(named) > OBJECTS_PER_TASK_MAX:
            raise OutputError(
                "output_too_large",
                f"the result names {len(named)} objects, at most {OBJECTS_PER_TASK_MAX}: "
                "return a folder instead of its files",
            )
        if not named:
            return b""
        of_files = transfers.store(job, parcel.sources) if parcel.sources else []
        of_trees = transfers.store(job, parcel.trees) if parcel.trees else []
        sources = [*parcel.sources, *parcel.trees]
        claims = {
            source.digest: claim
            for source, claim in zip(sources, [*of_files, *of_trees], strict=True)
        }
        return join(claims[digest] for digest in named)


def _entry(job: Job, parcel: Parcel, output: Output) -> Entry:
    source = _of_file(job, output.path)
    parcel.sources.append(source)
    kind = "exec" if output.is_executable else "file"
    return Entry(output.name, source.digest, source.size, kind)


def _of_file(job: Job, path: Path) -> Source:
    job.check()
    try:
        digest, size = digest_file(path)
    except Conflict as error:
        raise OutputError("output_missing", error.message) from error
    except FileNotFoundError as error:
        raise OutputError("output_missing", f"{path.name} is not there any more") from error
    except PermissionError as error:
        raise OutputError("output_missing", f"{path.name} cannot be read") from error
    return Source(path, digest, size)


def _of_bytes(tree: bytes) -> Source:
    return Source(tree, *digest_bytes(tree), tree=True)


def _returned(path: Path) -> list[tuple[str, str, str, bytes]]:
    """Read what a worker wrote about a returned value; raises OutputError."""
    try:
        with path.open("rb") as file:
            rows = json.loads(file.read(RETURNED_BYTES_MAX))
        return [
            (str(name), str(place), str(kind), bytes.fromhex(digest))
            for name, place, kind, digest in rows
        ]
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise OutputError("output_missing", f"what was returned is not known: {error}") from error


@contextmanager
def _logs(folder: str, spare: Path) -> Iterator[dict[str, Path]]:
    """Give the whole output of an attempt as a file for each stream that printed something."""
    found: dict[str, Path] = {}
    made: list[Path] = []
    try:
        for stream in STREAMS if folder else ():
            head = Path(folder) / stream
            tail = head.with_name(f"{stream}.tail")
            if not (head.exists() and head.stat().st_size):
                continue
            found[stream] = head
            if tail.exists():
                joined = _joined(head, tail, spare)
                if joined is not None:
                    found[stream] = joined
                    made.append(joined)
        yield found
    finally:
        for path in made:
            path.unlink(missing_ok=True)


def _joined(head: Path, tail: Path, spare: Path) -> Path | None:
    """Write a log that was cut as one file that says so; None when nothing was cut."""
    blob = tail.read_bytes()
    if len(blob) < _TOTAL.size:
        return None
    (total,) = _TOTAL.unpack_from(blob)
    kept = head.stat().st_size
    cut = total - kept - (len(blob) - _TOTAL.size)
    if cut < 0:  # they overlap
        blob, cut = blob[: _TOTAL.size] + blob[_TOTAL.size - cut :], 0
    path = spare / f".log-{threading.get_ident()}-{head.name}"
    with head.open("rb") as reader, path.open("xb") as writer:
        while data := reader.read(COPY_BYTES):
            writer.write(data)
        if cut:
            writer.write(f"\n[remuda: {cut} bytes were not kept]\n".encode())
        writer.write(blob[_TOTAL.size :])
    return path
