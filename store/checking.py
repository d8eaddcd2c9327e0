"""What stands in the way of a good store on this host? Asked by `remuda-store --check`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..config.disk_checks import Place, look_at_disk
from ..config.findings import Finding, fine, serious, warning
from ..config.home import Home
from ..config.keys import KeyFileError
from ..config.load import Loaded
from ..config.settings_store import StoreSettings
from ..config.state_dir import is_claimed
from ..config.store_home import objects_dir, port_file, read_store_port, secret_file
from ..protocol.errors import Invalid, Refused
from ..protocol.resources import format_bytes
from .bucket import open_bucket

DISK_WANTED_BYTES = 10 << 30


def check(home: Home, loaded: Loaded) -> list[Finding]:
    """Look at the disk, the quota, the bucket and the secret of this store; changes nothing."""
    settings = loaded.settings.store
    root = settings.state_dir or objects_dir(home)
    return [
        *of_disk(settings, root),
        *of_bucket(settings),
        *of_secret(home),
        *of_port(home, runs=is_claimed(root)),
    ]


def of_disk(settings: StoreSettings, root: Path) -> Iterator[Finding]:
    if not root.is_dir():
        yield fine("disk", f"{root} is not there yet: the first start makes it")
        return
    least = settings.disk_free_bytes_min
    yield from look_at_disk(
        Place(
            root,
            "[store] state_dir",
            least,
            max(DISK_WANTED_BYTES, 2 * least),
            "below [store] disk_free_bytes_min nothing is put",
        )
    )
    if not settings.url:
        yield from judge_quota(settings.quota_bytes, root)


def judge_quota(quota_bytes: int, root: Path) -> Iterator[Finding]:
    """Say whether a disk could ever hold what the store may take."""
    found = os.statvfs(root)
    whole = found.f_blocks * found.f_frsize
    if quota_bytes > whole:
        yield warning(
            "quota",
            f"[store] quota_bytes is {format_bytes(quota_bytes)}, its disk {format_bytes(whole)}: "
            "the disk will be full before old objects go",
            "set it below the size of the disk",
        )


def of_bucket(settings: StoreSettings) -> Iterator[Finding]:
    """List the first object of the bucket, which needs an address and a key that may read."""
    if not settings.url:
        return
    try:
        bucket = open_bucket(settings.url)
        next(bucket.digests(), None)
    except (Refused, OSError) as error:
        yield serious(
            "bucket",
            f"{settings.url} does not serve: {error}",
            "see AWS_ENDPOINT, AWS_REGION and the credentials in the environment of the unit",
        )
    else:
        yield fine("bucket", f"{settings.url} answers")


def of_secret(home: Home) -> Iterator[Finding]:
    path = secret_file(home)
    if path.exists() and path.stat().st_mode & 0o077:
        yield serious(
            "keys",
            f"others can read {path}, by which claims on objects are signed",
            "chmod 600 it; a new one is made when it is removed and both daemons restart",
        )


def of_port(home: Home, *, runs: bool) -> Iterator[Finding]:
    if not runs:
        yield fine("store", "no store runs here now")
        return
    try:
        port = read_store_port(port_file(home))
    except (Invalid, KeyFileError) as error:
        yield warning("store", str(error), "restart it: the store writes the file anew")
        return
    if port:
        yield fine("store", f"listens on port {port}")
    else:
        yield warning("store", "it runs and has not said where it listens", "is it starting?")
