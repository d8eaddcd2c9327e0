"""What is a file to a task and to whoever submits it? A name; its bytes travel by the store."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import pathlib
import shutil
import stat
import tempfile
from typing import Any, BinaryIO, NamedTuple, Protocol, Union

FILE, EXEC = "file", "exec"
NAME_BYTES_MAX = 255
PATH_BYTES_MAX = 1024
PIECE_BYTES = 1 << 20
StrPath = Union[str, "os.PathLike[str]"]


class Row(NamedTuple):
    """What a value says of a file; `kind` is `file`, or `exec` for a program."""

    name: str
    digest: bytes
    size: int
    kind: str


class Source(Protocol):
    """Where the bytes of a file are that is not here."""

    def fetch(self, row: Row, path: pathlib.Path) -> None:
        """Write a file to a new path, whole and verified."""


class File(os.PathLike):  # type: ignore[type-arg]  # it takes no argument in Python 3.9's stub
    """A file as an argument or a result: its bytes travel, and the task finds it by its path.

    `File("in.png")` names a local file that goes along; the task gets a File that lies in its own
    directory. A function returns `File("out.png")`, relative to that directory, and whoever asks
    for the result gets a File with `save()`, `read_bytes()` and `open()`. `name` says under which
    name it is known, which may have folders in it; by default it is the last part of the path.
    """

    __slots__ = ("_path", "_row", "_source", "name")

    def __init__(self, path: StrPath, *, name: str = "") -> None:
        text = os.fspath(path)
        if not isinstance(text, str):
            raise TypeError(f"File: found {text!r}, a path is text")
        self._path: str | None = text
        self._row: Row | None = None
        self._source: Source | None = None
        self.name = checked_name(name or os.path.basename(text))  # noqa: PTH119 - as it is spelt

    @classmethod
    def received(cls, row: Row, *, path: str | None = None, source: Source | None = None) -> File:
        """Make what a value names: it lies at `path`, or `source` has it."""
        made = object.__new__(cls)
        made._path, made._row, made._source, made.name = path, row, source, row.name
        return made

    @property
    def row(self) -> Row | None:
        """Return what is known of one that was received."""
        return self._row

    @property
    def source(self) -> Source | None:
        """Return what has the bytes of one that is not here."""
        return self._source

    @property
    def path(self) -> str | None:
        """Return where it lies here; None while it is in the store."""
        return self._path

    @property
    def size(self) -> int:
        """Return how many bytes it has."""
        if self._row is not None:
            return self._row.size
        return os.stat(os.fspath(self)).st_size  # noqa: PTH116 - a path as text

    @property
    def sha256(self) -> str:
        """Return the SHA-256 of its bytes, in hexadecimal."""
        if self._row is not None:
            return self._row.digest.hex()
        return digest_file(os.fspath(self))[0].hex()

    def save(self, to: StrPath = ".", *, force: bool = False) -> pathlib.Path:
        """Write it to a path, or under its name into a folder; return where it is.

        Raises FileExistsError rather than overwrite anything, unless told to `force` it.
        """
        target = pathlib.Path(to)
        if target.is_dir():
            target = target / self.name
            target.parent.mkdir(parents=True, exist_ok=True)
        if not force and os.path.lexists(target):
            text = "it exists: choose another name, or save with force=True"
            raise FileExistsError(errno.EEXIST, text, str(target))
        if self._source is not None and self._row is not None:
            self._source.fetch(self._row, target)
        else:
            copy_file(os.fspath(self), target)
        return target

    def open(self) -> BinaryIO:
        """Open it for reading; one from the store is fetched into a file without a name."""
        if self._source is None or self._row is None:
            return pathlib.Path(self).open("rb")
        with tempfile.TemporaryDirectory(prefix="remuda-") as folder:
            path = pathlib.Path(folder, "file")
            self._source.fetch(self._row, path)
            return path.open("rb")

    def read_bytes(self) -> bytes:
        """Return all of it."""
        with self.open() as file:
            return file.read()

    def __fspath__(self) -> str:
        if self._path is None:
            text = "it is in the store of the cluster: save() it first"
            raise FileNotFoundError(errno.ENOENT, text, self.name)
        return self._path

    def __repr__(self) -> str:
        if self._path is not None:
            return f"File({self._path!r})"
        return f"<File {self.name!r} in the store, {self.size} bytes>"


def read_row(found: Any) -> Row:
    """Read what a value says of a file; raises ValueError or TypeError."""
    name, digest, size, kind = found
    row = Row(checked_name(name), digest, size, kind)
    if type(digest) is not bytes or len(digest) != hashlib.sha256().digest_size:
        raise ValueError(f"a file without a digest: {name!r:.60}")
    if type(size) is not int or size < 0 or kind not in (FILE, EXEC):
        raise ValueError(f"no file: {name!r:.60}")
    return row


def checked_name(name: object) -> str:
    """Return a name that stays inside of any folder; raises ValueError for any other."""
    if not isinstance(name, str) or not name:
        raise ValueError(f"found {name!r:.60}, which is no name of a file")
    try:
        blob = name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"the name {name!r:.60} is not UTF-8: give it another, name=...") from None
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts) or any(map(_is_control, name)):
        raise ValueError(
            f"the name {name!r:.60} does not stay inside of a folder: write it like data/in.png"
        )
    longest = max(len(part.encode()) for part in parts)
    if longest > NAME_BYTES_MAX or len(blob) > PATH_BYTES_MAX:
        raise ValueError(f"the name {name[:60]!r}... is too long: give it another, name=...")
    return name


def digest_file(path: StrPath) -> tuple[bytes, int]:
    """Return SHA-256 and size of a file."""
    digest = hashlib.sha256()
    size = 0
    piece = memoryview(bytearray(PIECE_BYTES))
    with io.FileIO(os.fspath(path)) as file:
        while True:
            number = file.readinto(piece)
            if not number:
                return digest.digest(), size
            digest.update(piece[:number])
            size += number


def kind_of(mode: int) -> str:
    """Say whether the mode of a file makes it a program."""
    return EXEC if mode & stat.S_IXUSR else FILE


def copy_file(source: StrPath, target: StrPath, kind: str = "") -> None:
    """Copy a file, by sharing its blocks where the filesystem can; it is writable afterwards."""
    with pathlib.Path(source).open("rb") as reader, pathlib.Path(target).open("wb") as writer:
        if not _clone(reader.fileno(), writer.fileno()):
            shutil.copyfileobj(reader, writer, PIECE_BYTES)
        is_program = (kind or kind_of(os.fstat(reader.fileno()).st_mode)) == EXEC
        if is_program:
            mode = os.fstat(writer.fileno()).st_mode
            os.fchmod(writer.fileno(), stat.S_IMODE(mode) | (mode & 0o444) >> 2)


def _clone(source_fd: int, target_fd: int) -> bool:
    """Share the blocks of a file (FICLONE); say whether that was possible."""
    import fcntl

    try:
        fcntl.ioctl(target_fd, 0x40049409, source_fd)
    except OSError:
        return False
    return True


def _is_control(char: str) -> bool:
    return ord(char) < 0x20 or ord(char) == 0x7F
