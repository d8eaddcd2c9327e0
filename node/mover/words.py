"""What agent and mover say to each other: msgpack words, each behind its length, on a socket pair.

An attempt is named as its directory is (`<task hex>.<attempt>`). Every Prepare and Deliver gets
one answer, unless it was given up by Cancel or End; after a mover that died they are said again.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import msgpack

WORD_BYTES_MAX = 16 << 20
HEADER = struct.Struct("<I")


class WordError(ValueError):
    """Bytes that are no word of ours."""


class Setup(NamedTuple):
    """Agent -> mover, first of all. `living` attempts have directories that must stay."""

    state_dir: str
    cache_bytes_max: int
    disk_free_bytes_min: int
    dirs_bytes_max: int
    keep_s: float
    patience_s: float
    transfers: int
    outputs_bytes_max: int
    public: str
    secret: str
    living: list[str]


class Reach(NamedTuple):
    """Agent -> mover: where the store is now; port 0: there is none."""

    host: str
    port: int
    server_public: str


class InUse(NamedTuple):
    """Agent -> mover: the projects that living workers have on their path, all of them."""

    projects: list[bytes]


class Prepare(NamedTuple):
    """Agent -> mover: make the directory of an attempt, with all that it needs in it.

    `files` are rows [name, digest, size, kind] that go to `work`, `objects` digests that go to
    `objects`. `claims` (`Verb.READ`, one after the other) open them all. The `project` is unpacked
    into the cache, or for a command copied into `work`. Without `has_directory` none is made.
    """

    name: str
    has_directory: bool
    files: list[tuple[str, bytes, int, str]]
    objects: list[bytes]
    project: bytes
    is_command: bool
    claims: bytes


class Deliver(NamedTuple):
    """Agent -> mover: store what an attempt left behind.

    `patterns` of files below `work`; what `returned.json` lists, if the call `returns` objects;
    and the streams in `logs_dir`, unless that is empty.
    """

    name: str
    patterns: list[str]
    returns: bool
    logs_dir: str


class Cancel(NamedTuple):
    """Agent -> mover: nobody waits for the preparation or the delivery of an attempt any more."""

    name: str


class End(NamedTuple):
    """Agent -> mover: the attempt is over and acknowledged; its directory goes after a while."""

    name: str


class Ping(NamedTuple):
    """Agent -> mover: say that you live."""


class Pong(NamedTuple):
    """Mover -> agent: the answer to a Ping."""


class Prepared(NamedTuple):
    """Mover -> agent: all that the attempt needs is in its place."""

    name: str


class Delivered(NamedTuple):
    """Mover -> agent: all is stored. `outputs` are rows [name, digest, size, kind], `logs` by
    stream [digest, size], `claims` (`Verb.HAVE`) prove it, one after the other."""

    name: str
    outputs: list[tuple[str, bytes, int, str]]
    logs: dict[str, tuple[bytes, int]]
    claims: bytes


class Failed(NamedTuple):
    """Mover -> agent: it could not be prepared or delivered."""

    name: str
    code: str
    message: str


class Moved(NamedTuple):
    """Mover -> agent: how far it is, now and then."""

    name: str
    done: int
    total: int


class Silent(NamedTuple):
    """Mover -> agent: the store does not answer, or it does again (or nobody waits any more)."""

    is_so: bool


class Trouble(NamedTuple):
    """Mover -> agent: something for the log."""

    text: str


Word = (
    Setup
    | Reach
    | InUse
    | Prepare
    | Deliver
    | Cancel
    | End
    | Ping
    | Pong
    | Prepared
    | Delivered
    | Failed
    | Moved
    | Silent
    | Trouble
)
_KINDS: tuple[type[Word], ...] = (
    Setup, Reach, InUse, Prepare, Deliver, Cancel, End, Ping,
    Pong, Prepared, Delivered, Failed, Moved, Silent, Trouble,
)  # fmt: skip
_BY_NAME = {kind.__name__: kind for kind in _KINDS}


def encode(word: Word) -> bytes:
    """Write one word."""
    # Names of files need not be text: in a message they are shown.
    body = msgpack.packb([type(word).__name__, *word], unicode_errors="backslashreplace")
    return HEADER.pack(len(body)) + bytes(body)


class Parser:
    """Cut a byte stream into words."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Word]:
        """Add bytes; return the words that are complete; raises WordError."""
        buffer = self._buffer
        buffer += data
        found: list[Word] = []
        while len(buffer) >= HEADER.size:
            (length,) = HEADER.unpack_from(buffer)
            if length > WORD_BYTES_MAX:
                raise WordError(f"a word of {length} bytes")
            if len(buffer) < HEADER.size + length:
                break
            found.append(_decode(bytes(buffer[HEADER.size : HEADER.size + length])))
            del buffer[: HEADER.size + length]
        return found


def _decode(body: bytes) -> Word:
    try:
        name, *fields = msgpack.unpackb(body, use_list=True)
        return _BY_NAME[name](*fields)
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise WordError(f"not a word: {error}") from error
