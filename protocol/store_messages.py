"""What clients and nodes say to the store, and what it answers.

A `request` number of the asker's own choice pairs questions with answers, so that many can be
under way on one connection. Messages with bytes of an object carry them as a second part of the
ZeroMQ message, never inside the frame. Neither side sends ahead of what the other has asked for:
`upto` is the offset up to which bytes may be sent.

    put: PutObject -> PutCredit, PutChunk, PutChunk -> PutCredit, ... -> Stored
    get: GetObject -> GetChunk -> GetCredit -> GetChunk -> ... GetCredit

Who gets gives credit for all that it takes in, also for the last of it: with that the get is over.
"""

from __future__ import annotations

from dataclasses import dataclass

from .message import Message

CHUNK_BYTES = 256 * 1024
"""What a transfer may always have on the way; bytes go in whole chunks, but for the last."""
PIECE_BYTES_MAX = 512 * 1024
"""As many chunks go in one message as there is credit for, up to this: fewer cost less."""
WINDOW_CHUNKS = 8
INLINE_BYTES_MAX = 16 * 1024
"""An object that small may come along with its PutObject; for more, the store gives credit."""
NAME_BYTES = 16
"""The name of an object whose SHA-256 is not known yet; such a one has more than a chunk."""
CHECK_MAX = 1_000
"""Objects in one CheckObjects."""
TREE_ENTRIES_MAX = 20_000
TREE_BYTES_MAX = 4 * 1024 * 1024


@dataclass(slots=True)
class PutObject(Message):
    """Begin or resume to put an object; a small one may come along whole, as second part.

    In place of its SHA-256 (32 bytes) stands a name of the putter's own choice (`NAME_BYTES`) where
    nobody has read the bytes yet: the store finds the SHA-256 out, and says it in its claim.
    `tree` says that it is a list of [name, digest, size, kind] whose members are all in the store
    and open to whoever puts it; `claims` prove it for members that somebody else has put.
    """

    TYPE = 128
    SINCE = 3
    request: int
    digest: bytes
    size: int
    tree: bool
    claims: list[bytes]


@dataclass(slots=True)
class PutChunk(Message):
    """Bytes of an object from `offset` on, as second part."""

    TYPE = 129
    SINCE = 3
    request: int
    offset: int


@dataclass(slots=True)
class CheckObjects(Message):
    """Ask for claims of objects that the asker has put before, or may read by these claims.

    `claims` has one for each digest, or nothing where none is held.
    """

    TYPE = 130
    SINCE = 3
    COLUMNS = ("digests", "claims")
    request: int
    digests: list[bytes]
    claims: list[bytes]


@dataclass(slots=True)
class GetObject(Message):
    """Ask for an object from `offset` on; the claim is for it, or for a tree that has it."""

    TYPE = 131
    SINCE = 3
    request: int
    digest: bytes
    claim: bytes
    offset: int
    upto: int


@dataclass(slots=True)
class GetCredit(Message):
    """Let the store send up to this offset: what has been taken in, and a window more."""

    TYPE = 132
    SINCE = 3
    request: int
    upto: int


@dataclass(slots=True)
class Abandon(Message):
    """End a transfer; what was put so far can be resumed."""

    TYPE = 133
    SINCE = 3
    request: int


@dataclass(slots=True)
class AskStore(Message):
    """Ask how full the store is and what it does."""

    TYPE = 134
    SINCE = 3
    request: int


@dataclass(slots=True)
class PutCredit(Message):
    """Send the object from `offset` on, up to `upto`; the first answer to a PutObject."""

    TYPE = 136
    SINCE = 3
    request: int
    offset: int
    upto: int


@dataclass(slots=True)
class Stored(Message):
    """The object is on disk, and will be kept until the claim ends."""

    TYPE = 137
    SINCE = 3
    request: int
    claim: bytes


@dataclass(slots=True)
class Checked(Message):
    """A claim for each object that was asked about; nothing where it has to be put."""

    TYPE = 138
    SINCE = 3
    request: int
    claims: list[bytes]


@dataclass(slots=True)
class GetChunk(Message):
    """Bytes of an object of `size` bytes from `offset` on, as second part."""

    TYPE = 139
    SINCE = 3
    request: int
    offset: int
    size: int
    tree: bool


@dataclass(slots=True)
class StoreState(Message):
    """What an AskStore asked for: a document."""

    TYPE = 140
    SINCE = 3
    request: int
    body: dict  # type: ignore[type-arg]


@dataclass(slots=True)
class StoreFailure(Message):
    """The typed refusal of one request; the transfer is over."""

    TYPE = 141
    SINCE = 3
    request: int
    code: str
    message: str
    retry_after_ms: int = 0
