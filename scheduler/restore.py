"""How does a backup become the state of a scheduler again, on this host or another one?"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import apsw

from ..config import sqlite
from ..config.home import make_private_directory
from ..config.state_dir import claim
from ..protocol.resources import format_bytes
from .backup import INDEX_FILE, SPARE_BYTES, Places
from .bundle import (
    CONFIG,
    ETC_MEMBERS,
    INDEX,
    JOURNAL,
    KEYS,
    OBJECTS,
    BackupError,
    Progress,
    Reader,
    sync_folder,
)
from .highest_epoch import HighestEpoch
from .restored import prepare
from .schema import check_can_open, migrate

LOGS = ("-wal", "-shm")
"""What SQLite has beside a database that was not closed, by what their names end in."""


@dataclass(slots=True)
class Restored:
    """What was done; `epoch` is where the scheduler goes on, `kept` what was moved aside."""

    epoch: int
    holds: bool
    files: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def restore(
    reader: Reader,
    places: Places,
    *,
    principal: str,
    now_ms: int,
    on_progress: Progress,
    force: bool = False,
    goes_on: bool = False,
) -> Restored:
    """Put a backup into a home; raises BackupError, JournalError, StateDirError or OSError.

    With `force` what is there is moved aside, never removed. With `goes_on` nothing has happened
    since the backup, which was made of a stopped scheduler: then nothing is in doubt.
    """
    manifest = reader.manifest
    if goes_on and manifest.was_running:
        raise BackupError(
            "the scheduler ran while this backup was made, so something may have happened since: "
            "restore it without --continue"
        )
    lock = claim(places.state_dir, "scheduler")
    try:
        _check_empty(reader, places, force=force)
        _check_room(reader, places)
        highest = HighestEpoch(places.state_dir)
        fresh = places.state_dir / f".restoring-{secrets.token_hex(4)}.db"
        try:
            reader.copy(JOURNAL, fresh, on_progress)
            backup_ms = None if goes_on else manifest.at_ms
            epoch = _make_ready(fresh, backup_ms, principal, now_ms, highest.epoch)
            done = Restored(epoch, not goes_on)
            _put_rest(reader, places, done, on_progress)
            _set_aside(places.journal, done)
            fresh.rename(places.journal)
            sync_folder(places.state_dir)
            highest.see(epoch)
            done.files.append(str(places.journal))
        finally:
            for path in places.state_dir.glob(fresh.name + "*"):
                path.unlink()
        _remark(reader, places, done)
        return done
    finally:
        os.close(lock)


def _make_ready(
    path: Path, backup_ms: int | None, principal: str, now_ms: int, highest: int
) -> int:
    """Check a journal, bring it to our schema, and mark it as restored; return its epoch.

    Without `backup_ms` it goes on as it is; raises BackupError where it went on meanwhile.
    """
    if problems := sqlite.problems_of(path):
        raise BackupError(f"the journal in the backup is damaged ({problems[0]}): take another one")
    connection = sqlite.connect(path, autocheckpoint=False)
    try:
        check_can_open(connection)
        migrate(connection)
        if backup_ms is None:
            row = connection.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()
            epoch = int(row[0]) if row else 0
            if epoch < highest:
                raise BackupError(
                    f"the scheduler started since this backup was made (epoch {highest}; the "
                    f"backup has {epoch}): restore it without --continue"
                )
        else:
            epoch = prepare(
                connection, backup_ms=backup_ms, principal=principal, now_ms=now_ms,
                highest=highest,
            )  # fmt: skip
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    finally:
        connection.close()
    return epoch


def _check_empty(reader: Reader, places: Places, *, force: bool) -> None:
    """Raise BackupError where something would be replaced that nobody gave up."""
    if force:
        return
    wanted = [places.journal, *(path for _, path in _rest(reader, places))]
    there = [str(path) for path in wanted if path.exists() and not _is_same(reader, places, path)]
    if there:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise BackupError(
            f"{there[0]}{more} exists: restore into an empty home, or with --force, which moves "
            "what is there aside"
        )


def _is_same(reader: Reader, places: Places, path: Path) -> bool:
    """Tell whether a file is what the backup has: keys that were brought here before, say."""
    for name, target in _rest(reader, places):
        if target == path:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
            return found == str(reader.manifest.members[name][1])
    return False


def _rest(reader: Reader, places: Places) -> Iterable[tuple[str, Path]]:
    """Yield where each member but the journal goes; objects apart."""
    home = places.home
    for name in reader.names():
        if name == INDEX:
            yield name, places.store_dir / INDEX_FILE
        elif name.startswith(CONFIG):
            yield name, _inside(home.root, name.removeprefix(CONFIG))
        elif name.startswith(ETC_MEMBERS):
            yield name, _inside(home.root / "restored-etc", name.removeprefix(ETC_MEMBERS))
        elif name.startswith(KEYS):
            yield name, _inside(home.keys_dir, name.removeprefix(KEYS))
        elif name.startswith(OBJECTS):
            yield name, _inside(places.store_dir / "objects", name.removeprefix(OBJECTS))


def _inside(folder: Path, name: str) -> Path:
    """Return a path in a folder; raises BackupError for a name that leads out of it."""
    if not name or name.startswith("/") or ".." in Path(name).parts:
        raise BackupError(f"the backup names a file {name!r}: it was not made by remuda")
    return folder / name


def _check_room(reader: Reader, places: Places) -> None:
    wanted = sum(size for size, _ in reader.manifest.members.values()) + SPARE_BYTES
    found = os.statvfs(places.state_dir)
    if (free := found.f_bavail * found.f_frsize) < wanted:
        raise BackupError(
            f"{places.state_dir} has {format_bytes(free)} free, the backup takes "
            f"{format_bytes(wanted)}"
        )


def _put_rest(reader: Reader, places: Places, done: Restored, on_progress: Progress) -> None:
    """Put settings, keys and the store's files where they belong."""
    for name, target in _rest(reader, places):
        if target.exists():
            if _is_same(reader, places, target):
                continue
            _set_aside(target, done)
        make_private_directory(target.parent)
        reader.copy(name, target, on_progress)
        if not name.startswith(OBJECTS):
            done.files.append(str(target))
        sync_folder(target.parent)


def _set_aside(path: Path, done: Restored) -> None:
    """Move a file out of the way, a database with its log.

    A log of another name would be lost to it, and one that stayed would be played into what comes
    in its place.
    """
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside = path.with_name(f"{path.name}.before-{moment}-{secrets.token_hex(2)}")
    for suffix in LOGS:
        if (log := path.with_name(path.name + suffix)).exists():
            shutil.move(log, aside.with_name(aside.name + suffix))
    if path.exists():
        shutil.move(path, aside)
        done.kept.append(str(aside))


def _remark(reader: Reader, places: Places, done: Restored) -> None:
    """Say what the operator still has to bring."""
    if not places.home.key_file("scheduler").exists():
        done.remarks.append(
            f"{places.home.keys_dir} has no scheduler.key, and the backup has none: bring the old "
            "one, or every node and client has to be given the key of a new one"
        )
    if reader.names(ETC_MEMBERS):
        done.remarks.append(f"settings of /etc/remuda are in {places.home.root / 'restored-etc'}")
    if reader.names(INDEX) and not reader.manifest.has_objects:
        done.remarks.append(
            "the store's objects are not in the backup: bring its folder, or files and large "
            "values of before are gone"
        )
