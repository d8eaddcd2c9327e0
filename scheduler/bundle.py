"""What is in a backup: one tar file whose last member says what the others are.

| member | what it is |
|---|---|
| `journal.db` | the journal, at one moment |
| `store/index.db` | which objects the store has, a moment later |
| `store/objects/...` | the objects themselves, where they were asked for |
| `config/...`, `etc/...` | the settings of the home, and those of /etc/remuda |
| `keys/...` | the keys of the home, where they were asked for |
| `manifest.json` | versions, the epoch, and size and SHA-256 of each member |
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from ..protocol.errors import RemudaError

FORMAT = 1
MANIFEST = "manifest.json"
JOURNAL = "journal.db"
INDEX = "store/index.db"
OBJECTS, CONFIG, ETC_MEMBERS, KEYS = "store/objects/", "config/", "etc/", "keys/"
CHUNK_BYTES = 1 << 20
MANIFEST_BYTES_MAX = 64 << 20
MODE = 0o600

Progress = Callable[[str, int, int], None]
"""Told what is done, how many bytes of it, and of how many."""


class BackupError(RemudaError):
    """A backup cannot be made, read or restored; the message says why and what to do."""

    code = "backup"


@dataclass(slots=True)
class Manifest:
    """What a backup says of itself; `members` are [size, SHA-256] by name.

    `was_running`: a scheduler ran while it was made, so the cluster went on from there.
    """

    version: str
    schema: int
    opened_since: int
    epoch: int
    cluster: str
    cluster_id: str
    host: str
    at_ms: int
    was_running: bool
    open_tasks: int
    ended_tasks: int
    has_keys: bool = False
    has_objects: bool = False
    format: int = FORMAT
    members: dict[str, list[Any]] = field(default_factory=dict)


class _Hashed(io.RawIOBase):
    """Reads a file and hashes what passes."""

    def __init__(self, file: IO[bytes], on_bytes: Callable[[int], None]) -> None:
        self._file, self._on_bytes = file, on_bytes
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        self._on_bytes(len(data))
        return data


class Writer:
    """Writes a backup beside its final name; `close` puts it there, whole and on disk."""

    def __init__(self, target: Path, on_progress: Progress) -> None:
        self._target = target
        self._part = target.with_name(f".{target.name}.{os.getpid()}.part")
        descriptor = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
        self._file = open(descriptor, "w+b")  # noqa: PTH123, SIM115 - a descriptor, closed below
        self._tar = tarfile.open(fileobj=self._file, mode="w")  # noqa: SIM115 - closed below
        self._members: dict[str, list[Any]] = {}
        self._on_progress = on_progress

    def add(self, name: str, path: Path) -> None:
        """Append a file; one that vanished meanwhile is left out."""
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return
        with file:
            info = tarfile.TarInfo(name)
            info.size, info.mode = os.fstat(file.fileno()).st_size, MODE
            info.mtime = int(os.fstat(file.fileno()).st_mtime)
            done = 0

            def on_bytes(more: int) -> None:
                nonlocal done
                done += more
                self._on_progress(name, done, info.size)

            hashed = _Hashed(file, on_bytes)
            self._tar.addfile(info, hashed)
        self._members[name] = [info.size, hashed.digest.hexdigest()]

    def close(self, manifest: Manifest) -> None:
        """Say what is in it, sync it, and give it its name."""
        manifest.members = self._members
        data = json.dumps(asdict(manifest), indent=1).encode() + b"\n"
        info = tarfile.TarInfo(MANIFEST)
        info.size, info.mode, info.mtime = len(data), MODE, manifest.at_ms // 1000
        self._tar.addfile(info, io.BytesIO(data))
        self._tar.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.replace(self._target)
        sync_folder(self._target.parent)

    def abandon(self) -> None:
        """Leave nothing behind."""
        self._file.close()
        self._part.unlink(missing_ok=True)


class Reader:
    """Reads a backup; raises BackupError for what is none, or was damaged."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb")
        try:
            self._tar = tarfile.open(fileobj=self._file, mode="r:")  # noqa: SIM115 - it is in memory
            self._known = {info.name: info for info in self._tar.getmembers() if info.isfile()}
            self.manifest = self._read_manifest()
        except (tarfile.TarError, ValueError, KeyError, TypeError) as error:
            self._file.close()
            raise BackupError(f"{path}: is no backup of remuda, or only a part of one") from error
        except BackupError:
            self._file.close()
            raise

    def _read_manifest(self) -> Manifest:
        info = self._known[MANIFEST]
        if info.size > MANIFEST_BYTES_MAX:
            raise ValueError("the manifest is too long")
        file = self._tar.extractfile(info)
        assert file is not None
        found = json.loads(file.read())
        if found["format"] != FORMAT:
            raise BackupError(
                f"{self._path}: has the format {found['format']}, this remuda reads {FORMAT}: "
                "restore it with the remuda that made it, or a newer one"
            )
        return Manifest(**found)

    def names(self, prefix: str = "") -> list[str]:
        """Return the members that begin so, as the manifest lists them."""
        return [name for name in self.manifest.members if name.startswith(prefix)]

    def copy(self, name: str, target: Path, on_progress: Progress) -> None:
        """Write a member to a new file, on disk; raises BackupError unless it is as it was."""
        size, digest = self.manifest.members[name]
        info = self._known.get(name)
        file = self._tar.extractfile(info) if info is not None else None
        if file is None or info is None or info.size != size:
            raise BackupError(f"{self._path}: {name} is missing, or was cut: take another backup")
        hashed = hashlib.sha256()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with open(os.open(target, flags, MODE), "wb") as out:  # noqa: PTH123 - a descriptor
            done = 0
            while chunk := file.read(CHUNK_BYTES):
                hashed.update(chunk)
                out.write(chunk)
                done += len(chunk)
                on_progress(name, done, size)
            out.flush()
            os.fsync(out.fileno())
        if hashed.hexdigest() != digest:
            target.unlink()
            raise BackupError(f"{self._path}: {name} was damaged: take another backup")

    def close(self) -> None:
        self._tar.close()
        self._file.close()


def described(manifest: Manifest) -> Mapping[str, Any]:
    """Return what a manifest says, without its members."""
    return {key: value for key, value in asdict(manifest).items() if key != "members"}


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
