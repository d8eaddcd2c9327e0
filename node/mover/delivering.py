"""What of an attempt goes to the store when its process has ended: outputs, values, logs?"""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...protocol.claims import OBJECTS_PER_TASK_MAX, read
from ...protocol.errors import Conflict
from ...protocol.trees import Entry, pack_tree
from ...transfer import Source, digest_bytes, digest_file, unread
from .directories import Directories
from .outputs import OutputError, collect
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
HASHED_BYTES_MAX = 16 << 20
"""A larger file is not read twice: the store tells its digest. It is sent even if it is there."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A file that goes to the store; `expected` is the digest that it had when it was returned."""

    name: str
    kind: str
    source: Source
    expected: bytes = b""


@dataclass(slots=True)
class Delivering:
    """Stores what attempts left."""

    directories: Directories
    outputs_bytes_max: int

    def deliver(self, job: Job, order: Deliver, transfers: Transfers) -> Delivered:
        """Store all of it; raises OutputError, RemudaError, OSError and GivenUp."""
        path = self.directories.visit(order.name)
        returned = _returned_pieces(job, path) if order.returns else []
        collected = self._collected(job, path / "work", order.patterns) if order.patterns else []
        is_tree = len(collected) > min(ROWS_MAX, OBJECTS_PER_TASK_MAX - len(returned))
        named = len(returned) + (1 if is_tree else len(collected))
        with _logs(order.logs_dir, self.directories.root) as files:
            room = max(0, OBJECTS_PER_TASK_MAX - named)
            logs = [
                Piece(stream, "file", _of_file(job, file))
                for stream, file in list(files.items())[:room]
            ]
            _check_number(returned, named)
            claims = _stored(job, [*returned, *collected, *logs], transfers)
        of_tree: list[bytes] = []
        outputs = [_row(piece, claims) for piece in returned if piece.name]
        if is_tree:
            tree = _of_bytes(pack_tree([Entry(*_row(piece, claims)) for piece in collected]))
            of_tree = transfers.store(job, [tree])
            outputs.append((ALL_OUTPUTS, tree.digest, tree.size, "tree"))
        else:
            outputs += [_row(piece, claims) for piece in collected]
        seen = [*returned, *([] if is_tree else collected)]
        proofs = [*(claims[each.source.digest] for each in seen), *of_tree]
        proofs += [claims[each.source.digest] for each in logs]
        of_logs = {each.name: _row(each, claims)[1:3] for each in logs}
        return Delivered(order.name, list(dict.fromkeys(outputs)), of_logs, join(proofs))

    def _collected(self, job: Job, work: Path, patterns: list[str]) -> list[Piece]:
        found = collect(work, patterns, self.outputs_bytes_max)
        return [
            Piece(each.name, "exec" if each.is_executable else "file", _of_file(job, each.path))
            for each in found
        ]


def _returned_pieces(job: Job, path: Path) -> list[Piece]:
    """Find the files that a function returned, and its value where that is an object."""
    root = path.resolve()
    pieces = []
    for name, place, kind, digest in _returned(path / RETURNED):
        file = (root / place).resolve()
        if not file.is_relative_to(root):
            raise OutputError("output_missing", f"{place} is not in the task's directory")
        # Its bytes count, not what is said of them: who only names an object gets no claim of it.
        piece = Piece(name, kind, _of_file(job, file), digest)
        if not piece.source.is_unread and piece.source.digest != digest:
            raise _changed(piece)
        pieces.append(piece)
    return pieces


def _check_number(returned: list[Piece], named: int) -> None:
    """Raise OutputError where a result names more than one may."""
    same = len(returned) - len({each.expected for each in returned})
    if named - same > OBJECTS_PER_TASK_MAX:
        raise OutputError(
            "output_too_large",
            f"the result names {named - same} objects, at most {OBJECTS_PER_TASK_MAX}: "
            "return a folder instead of its files",
        )


def _stored(job: Job, pieces: list[Piece], transfers: Transfers) -> dict[bytes, bytes]:
    """Put files into the store; return their claims by what their sources call them."""
    sources = [piece.source for piece in pieces]
    found = transfers.store(job, sources) if sources else []
    claims = {source.digest: claim for source, claim in zip(sources, found, strict=True)}
    for piece in pieces:
        if piece.expected and read(claims[piece.source.digest]).digest != piece.expected:
            raise _changed(piece)
    return claims


def _row(piece: Piece, claims: dict[bytes, bytes]) -> tuple[str, bytes, int, str]:
    claim = read(claims[piece.source.digest])
    return piece.name, claim.digest, claim.size, piece.kind


def _changed(piece: Piece) -> OutputError:
    what = piece.name or "the value"
    return OutputError("output_missing", f"{what} was changed after it was returned")


def _of_file(job: Job, path: Path) -> Source:
    job.check()
    try:
        if path.stat().st_size > HASHED_BYTES_MAX:
            return unread(path)
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
