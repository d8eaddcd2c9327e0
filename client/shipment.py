"""What has to be in the store before a task can be submitted: its files, and its large values."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from ..protocol import claims
from ..protocol.claims import OBJECTS_PER_TASK_MAX
from ..protocol.errors import Invalid, NotFound, ValueTooLarge
from ..protocol.messages import Submit
from ..protocol.spec import from_document
from ..transfer.hashing import digest_file
from ..transfer.wants import Source
from ..worker import values
from ..worker.files import File, Row, kind_of
from ..worker.large import Stored
from .numbers import NONE, Numbers, named_in, pick
from .received import Far

if TYPE_CHECKING:
    from .depot import Depot

IN_MEMORY_BYTES_MAX = 1 << 20
"""A larger value waits in a file for its way to the store."""
BATCH_BYTES_MAX = 256 << 20
"""So many bytes of values are gathered for one visit to the store."""
BATCH_FILES_MAX = 2_000
_NAMING = ("files", "project", "stdin_object")


class Call(NamedTuple):
    """The arguments of a call, the objects that they name, and those that are numbers we need."""

    args: bytes
    digests: Sequence[bytes] = ()
    numbers: Numbers = NONE


class Shipment:
    """Gathers what encoded arguments name, and brings it to the store in one go.

    It holds values above `IN_MEMORY_BYTES_MAX` in files of TMPDIR until then. It is to be entered,
    so that these are removed whatever happens.
    """

    def __init__(self, depot: Depot) -> None:
        self._depot = depot
        self._sources: dict[bytes, Source] = {}
        self._proofs: dict[bytes, bytes] = {}
        self._named: list[bytes] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._bytes = 0

    def __enter__(self) -> Shipment:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._clear()

    @property
    def is_full(self) -> bool:
        """Tell whether it is time to send."""
        return self._bytes >= BATCH_BYTES_MAX or len(self._sources) >= BATCH_FILES_MAX

    def call(self, spec: Mapping[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """Encode the arguments of a call; raises Invalid, NotFound or ValueTooLarge."""
        self._named.clear()
        try:
            parcel = values.pack_call(args, kwargs, self.take)
        except values.NotEncodable as error:
            raise Invalid(f"arguments: {error}", field="args") from error
        for stored in parcel.stored:
            self._put(stored)
        numbers = pick(named_in(spec), kwargs)
        if not self._named:
            return Call(parcel.body, (), numbers)
        digests = list(dict.fromkeys(self._named))
        if len(digests) > OBJECTS_PER_TASK_MAX:
            raise ValueTooLarge(
                f"arguments: they name {len(digests)} files and large values, allowed are "
                f"{OBJECTS_PER_TASK_MAX}: send a folder (files=), or hand over fewer, larger ones",
                field="args",
            )
        return Call(parcel.body, digests, numbers)

    def take(self, file: File) -> Row:
        """Note a file that goes along; raises NotFound, Invalid or Conflict."""
        far = file.source
        if isinstance(far, Far) and file.row is not None and far.depot is self._depot:
            self._named.append(file.row.digest)
            self._proofs[file.row.digest] = far.right(file.row.digest)
            return file.row
        if file.path is None:
            raise Invalid(
                f"{file!r}: it is in the store of another cluster: save() it, and send that",
                field="args",
            )
        path = Path(file.path)
        status = regular(path, "File")
        digest, size = digest_file(path)
        self._named.append(digest)
        self._sources[digest] = Source(path.absolute(), digest, size)
        return Row(file.name, digest, size, kind_of(status.st_mode))

    def send(self) -> None:
        """Bring to the store what it does not have; nothing is held here afterwards."""
        if self._sources:
            self._depot.put(self._sources.values())
        if self._proofs:
            self._depot.vouch(self._proofs)
        self._clear()

    def _put(self, stored: Stored) -> None:
        self._named.append(stored.digest)
        if stored.digest in self._sources or self._depot.has(stored.digest):
            return
        content: Path | bytes
        if stored.size <= IN_MEMORY_BYTES_MAX:
            content = b"".join(stored.pieces)
        else:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="remuda-")
            content = Path(self._folder.name, stored.digest.hex())
            write(content, stored.pieces)
        self._sources[stored.digest] = Source(content, stored.digest, stored.size)
        self._bytes += stored.size

    def _clear(self) -> None:
        self._sources, self._proofs, self._bytes = {}, {}, 0
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def name_objects(message: Submit, depot: Depot, digests: Sequence[Sequence[bytes]]) -> None:
    """Add to a submission the claims of all objects that it names: they were put before."""
    if any(digests):
        message.objects = [depot.claims_of(each) for each in digests]
    of_specs = [objects_of(spec) for spec in message.specs]
    if any(of_specs):
        message.spec_objects = [depot.claims_of(each) for each in of_specs]


def objects_of(spec: dict[str, Any]) -> Sequence[bytes]:
    """Return the digests of the objects that a spec itself names."""
    return from_document(spec).digests() if any(field in spec for field in _NAMING) else ()


def renew_claims(message: Submit, depot: Depot) -> None:
    """Renew what has ended of the claims of a submission that had to wait."""
    for blobs in (message.objects, message.spec_objects):
        for index, blob in enumerate(blobs):
            blobs[index] = depot.claims_of(claims.read(each).digest for each in claims.split(blob))


def regular(path: Path, field: str) -> os.stat_result:
    """Return the state of a file that can be sent; raises NotFound or Invalid."""
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise NotFound(f"{field}: there is no file {path}", field=field) from error
    except OSError as error:
        raise Invalid(f"{field}: {path}: {error.strerror}", field=field) from error
    if stat.S_ISDIR(status.st_mode):
        raise Invalid(
            f"{field}: {path} is a folder: send it with files= (--file), as one thing", field=field
        )
    if not stat.S_ISREG(status.st_mode):
        raise Invalid(f"{field}: {path} is no regular file", field=field)
    if not os.access(path, os.R_OK):
        raise Invalid(f"{field}: {path} cannot be read: {os.strerror(errno.EACCES)}", field=field)
    return status


def write(path: Path, pieces: Iterable[bytes | memoryview]) -> None:
    """Write a value piece by piece."""
    with path.open("wb", buffering=0) as file:
        for piece in pieces:
            view = memoryview(piece)
            while view.nbytes:
                view = view[file.write(view) :]
