"""Is a folder on a disk that a daemon can live on: local, with room, and as fast as it says?"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..protocol.resources import format_bytes
from .filesystems import MEMORY_FILE_SYSTEMS, NETWORK_FILE_SYSTEMS, file_system_of
from .findings import Finding, fine, serious, warning

SYNCS = 16
SYNC_BYTES = 4 << 10
TRIAL_S = 2.0  # after which a slow disk is known to be slow
SLOW_MS, HONEST_MS = 20.0, 0.02
"""A sync that takes longer delays every submission; one that is quicker than any disk is none."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder, the setting that names it, and how much room it needs: none works, little warns."""

    folder: Path
    setting: str
    free_bytes_min: int
    free_bytes_wanted: int
    kept_there: str


def look_at_disk(place: Place) -> list[Finding]:
    """Try a folder out as its daemon will use it; it must exist."""
    kind = file_system_of(place.folder.resolve())
    if kind in NETWORK_FILE_SYSTEMS:
        return [
            serious(
                "disk",
                f"{place.folder} is on a network file system ({kind}), where locks, sockets and "
                "SQLite do not work",
                f"set {place.setting} to a directory on a local disk",
            )
        ]
    try:
        sync_ms = time_syncs(place.folder)
    except OSError as error:
        return [
            serious(
                "disk",
                f"{place.folder} is of no use: {error.strerror or error}",
                "make it writable for the user of the daemon and its disk sound, or set "
                f"{place.setting} to another directory",
            )
        ]
    found = list(judge_room(place, kind, os.statvfs(place.folder)))
    if kind not in MEMORY_FILE_SYSTEMS:
        found += judge_syncs(place, sync_ms)
    return found


def time_syncs(folder: Path) -> float:
    """Return what making 4 KiB durable takes there, in ms (the median). Raises OSError."""
    probe = folder / f".check-{secrets.token_hex(4)}"
    descriptor = os.open(probe, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    taken: list[float] = []
    begun = time.monotonic()
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        while len(taken) < SYNCS and time.monotonic() - begun < TRIAL_S:
            start = time.perf_counter()
            os.write(descriptor, secrets.token_bytes(SYNC_BYTES))
            os.fdatasync(descriptor)
            taken.append((time.perf_counter() - start) * 1_000)
    finally:
        os.close(descriptor)
        with contextlib.suppress(OSError):
            probe.unlink()
    return statistics.median(taken)


def judge_room(place: Place, kind: str, found: os.statvfs_result) -> Iterator[Finding]:
    """Say what the figures of a file system mean."""
    free = found.f_bavail * found.f_frsize
    room = f"{format_bytes(free)} free in {place.folder}" + (f" ({kind})" if kind else "")
    if free < place.free_bytes_min:
        yield serious("disk", f"only {room}", f"make room there, or set {place.setting} elsewhere")
    elif free < place.free_bytes_wanted:
        yield warning(
            "disk",
            f"only {room}: {place.kept_there}",
            f"make room for {format_bytes(place.free_bytes_wanted)} at least, or set "
            f"{place.setting} elsewhere",
        )
    else:
        yield fine("disk", room)
    if found.f_files and not found.f_favail:
        yield serious("disk", f"{place.folder} has no inodes left", "remove files on that disk")
    if kind in MEMORY_FILE_SYSTEMS:
        yield warning(
            "disk",
            f"{place.folder} is in memory ({kind}): what is kept there takes RAM and is gone "
            "after a reboot",
            f"set {place.setting} to a directory on a disk",
        )


def judge_syncs(place: Place, sync_ms: float) -> Iterator[Finding]:
    """Say what the time that the disk needs to keep its word means."""
    said = f"{sync_ms:.2g} ms to make 4 KiB durable in {place.folder}"
    if sync_ms >= SLOW_MS:
        yield warning(
            "disk",
            f"{said}: whoever waits for something durable waits that long",
            f"set {place.setting} to a local SSD, or see what else writes there (`iostat -x 1`)",
        )
    elif sync_ms < HONEST_MS:
        yield warning(
            "disk",
            f"{said}: faster than disks are, so it may lose what it said was kept when the "
            "power fails",
            "mount it with barriers, and let no cache without a battery acknowledge writes",
        )
    else:
        yield fine("disk", said)
