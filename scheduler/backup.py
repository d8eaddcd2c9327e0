"""How is a backup made, beside a scheduler that runs or of one that is stopped?

A process of its own reads the journal as it stood at one moment and copies it, while the
scheduler goes on writing its log: no turn of the scheduler is longer for it.
"""

from __future__ import annotations

import importlib.metadata
import os
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import apsw

from ..config import sqlite
from ..config.home import ETC, Home, make_private_directory
from ..config.load import Loaded
from ..config.state_dir import is_claimed
from ..config.store_home import objects_dir
from ..protocol.resources import format_bytes
from .bundle import (
    CONFIG,
    ETC_MEMBERS,
    INDEX,
    JOURNAL,
    KEYS,
    OBJECTS,
    BackupError,
    Manifest,
    Progress,
    Writer,
    sync_folder,
)
from .schema import JOURNAL_FILE, opened_since, version_of

SLICE_PAGES = 1_024
INDEX_FILE = "index.db"
CONFIG_BYTES_MAX = 4 << 20
SPARE_BYTES = 64 << 20
MIGRATED = "before-schema"
MIGRATED_KEPT = 3


@dataclass(frozen=True, slots=True)
class Places:
    """Where the files of a scheduler and of its store are."""

    home: Home
    state_dir: Path
    store_dir: Path
    cluster: str

    @property
    def journal(self) -> Path:
        return self.state_dir / JOURNAL_FILE


def places_of(home: Home, loaded: Loaded) -> Places:
    settings = loaded.settings
    return Places(
        home,
        settings.scheduler.state_dir or home.scheduler_dir,
        settings.store.state_dir or objects_dir(home),
        settings.cluster.name,
    )


def snapshot(source: Path, target: Path, on_progress: Progress, name: str = JOURNAL) -> None:
    """Copy a database as it stands at one moment, sync it, and look through the copy.

    Raises BackupError or `apsw.Error`.
    """
    reader = sqlite.connect(source, read_only=True)
    target.unlink(missing_ok=True)
    writer = apsw.Connection(str(target))
    try:
        target.chmod(0o600)
        writer.execute("PRAGMA synchronous = OFF")  # it is synced once, at the end
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_schema").fetchall()  # from here on: this moment
        page_bytes = int(reader.pragma("page_size"))
        backup = writer.backup("main", reader, "main")
        while not backup.done:
            backup.step(SLICE_PAGES)
            total = backup.page_count
            on_progress(name, (total - backup.remaining) * page_bytes, total * page_bytes)
        backup.finish()
        reader.execute("ROLLBACK")
        writer.execute("PRAGMA journal_mode = DELETE")  # a copy needs no log beside it
    finally:
        writer.close()
        reader.close()
    with target.open("rb") as file:
        os.fsync(file.fileno())
    if problems := sqlite.problems_of(target):
        target.unlink()
        raise BackupError(
            f"{source} is damaged ({problems[0]}): keep it, restore an earlier backup, and look "
            "after the disk"
        )


def make(
    places: Places,
    target: Path,
    *,
    now_ms: int,
    on_progress: Progress,
    with_keys: bool = False,
    with_objects: bool = False,
    was_running: bool | None = None,
) -> Manifest:
    """Make a backup; raises BackupError, or OSError as it comes."""
    if not places.journal.exists():
        raise BackupError(f"there is no journal in {places.state_dir}: name the home with --home")
    if target.exists():
        raise BackupError(f"{target} exists: choose another name, or remove it")
    _check_room(places, target.parent)
    copy = target.with_name(f".{target.name}.{os.getpid()}.db")
    writer = Writer(target, on_progress)
    try:
        if was_running is None:
            was_running = is_claimed(places.state_dir)
        snapshot(places.journal, copy, on_progress)
        manifest = _manifest(copy, places, now_ms, was_running=was_running)
        writer.add(JOURNAL, copy)
        _add_store(writer, places, copy, on_progress, with_objects=with_objects)
        for name, path in _settings(places.home):
            writer.add(name, path)
        if with_keys:
            for path in sorted(places.home.keys_dir.iterdir()):
                if path.is_file() and not path.name.startswith("."):
                    writer.add(KEYS + path.name, path)
        manifest.has_keys, manifest.has_objects = with_keys, with_objects
        writer.close(manifest)
    except BaseException:
        writer.abandon()
        raise
    finally:
        copy.unlink(missing_ok=True)
    return manifest


def _add_store(
    writer: Writer, places: Places, copy: Path, on_progress: Progress, *, with_objects: bool
) -> None:
    """Add the store's index: after the journal, so that it has what that names."""
    index = places.store_dir / INDEX_FILE
    if not index.exists():
        return
    snapshot(index, copy, on_progress, INDEX)
    writer.add(INDEX, copy)
    if with_objects:
        objects = places.store_dir / "objects"
        for path in sorted(objects.glob("*/*")):
            writer.add(OBJECTS + str(path.relative_to(objects)), path)


def _settings(home: Home) -> Iterable[tuple[str, Path]]:
    """Yield the files of settings by their names in a backup."""
    for folder, prefix in ((home.root, CONFIG), (ETC, ETC_MEMBERS)):
        for path in sorted([*folder.glob("*.toml"), *folder.glob("profiles/*.toml")]):
            if path.is_file() and path.stat().st_size <= CONFIG_BYTES_MAX:
                yield prefix + str(path.relative_to(folder)), path


def _manifest(copy: Path, places: Places, now_ms: int, *, was_running: bool) -> Manifest:
    connection = sqlite.connect(copy, read_only=True)
    try:
        meta = {
            str(key): bytes(value)
            for key, value in connection.execute("SELECT key, value FROM meta")
        }
        ((still_open, ended),) = connection.execute(
            "SELECT count(*) FILTER (WHERE state < 5), count(*) FILTER (WHERE state >= 5)"
            " FROM tasks"
        )
        return Manifest(
            version=importlib.metadata.version("remuda"),
            schema=version_of(connection),
            opened_since=opened_since(connection),
            epoch=int(meta.get("epoch", b"0")),
            cluster=places.cluster,
            cluster_id=meta.get("cluster_id", b"").decode(),
            host=socket.gethostname(),
            at_ms=now_ms,
            was_running=was_running,
            open_tasks=int(still_open),
            ended_tasks=int(ended),
        )
    finally:
        connection.close()


def _check_room(places: Places, folder: Path) -> None:
    """Raise BackupError where the copy and the bundle of it do not fit."""
    sizes = [places.journal, places.store_dir / INDEX_FILE]
    wanted = 2 * sum(path.stat().st_size for path in sizes if path.exists()) + SPARE_BYTES
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    if free < wanted:
        raise BackupError(
            f"{folder} has {format_bytes(free)} free, the backup takes {format_bytes(wanted)} "
            "while it is made: choose another disk, or prune tasks"
        )


def before_migration(
    places: Places, version: int, now_ms: int, on_progress: Progress = lambda *_: None
) -> Path:
    """Back the journal up before its schema changes; the newest few such backups are kept.

    Whoever calls it has claimed the state directory. Raises BackupError.
    """
    folder = places.state_dir / "backups"
    make_private_directory(folder)
    prefix = f"{MIGRATED}-{version}"
    target = folder / timed_name(prefix, now_ms)
    make(places, target, now_ms=now_ms, on_progress=on_progress, was_running=False)
    rotate(folder, f"{MIGRATED}-*.tar", MIGRATED_KEPT)
    return target


def rotate(folder: Path, pattern: str, keep: int) -> list[Path]:
    """Remove all but the newest of some backups, by the times in their names; return those gone."""
    found = sorted(folder.glob(pattern), key=lambda path: path.name.rpartition("-")[2])
    doomed = found[: max(len(found) - keep, 0)]
    for path in doomed:
        path.unlink()
    if doomed:
        sync_folder(folder)
    return doomed


def timed_name(prefix: str, now_ms: int) -> str:
    """Name a backup so that names sort by time."""
    return f"{prefix}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now_ms / 1000))}.tar"
