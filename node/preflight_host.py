"""Is this host itself fit to be a node: its disk, its limits, and its driver?"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

from ..config.disk_checks import Place, judge_room
from ..config.filesystems import NETWORK_FILE_SYSTEMS, file_system_of
from ..config.findings import Finding, Level, of_level, serious, warning
from ..config.host_checks import FILES_MIN, of_limits
from ..config.settings_node import NodeSettings
from .gpu import Reading
from .gpu_locks import lock_dir
from .others import of_run_as
from .preflight_driver import judge_driver, seen_cards
from .strain import DISK_FREE_BYTES_MIN

DISK_COMFORT_BYTES = 2 << 30
PROBE_BYTES = 64 << 10
SOCKET_PATH_CHARS_MAX = 107
TASK_PATH_CHARS = 48  # what a task's directory adds to the node's


def of_host(node: NodeSettings, node_dir: Path, reading: Reading) -> list[Finding]:
    """Look at the host and say what is found, good or bad."""
    return [
        *_disk(node_dir),
        *of_level(of_limits(FILES_MIN), Level.WARNING),
        *_locks(node, reading),
        *judge_driver(reading, seen_cards(), node.gpus),
        *of_run_as(node, node_dir),
    ]


def place_of(folder: Path) -> Place:
    """Name what an agent needs of the disk of its directory."""
    return Place(
        folder,
        "[node] state_dir",
        DISK_FREE_BYTES_MIN,
        DISK_COMFORT_BYTES,
        "files, output and environments of tasks are kept there",
    )


def _disk(folder: Path) -> Iterator[Finding]:
    kind = file_system_of(folder.resolve())
    if kind in NETWORK_FILE_SYSTEMS:
        yield serious(
            "disk",
            f"{folder} is on a network file system ({kind}), where locks and sockets of runners "
            "do not work",
            "set [node] state_dir to a directory on a local disk",
        )
        return
    try:
        _try_out(folder)
    except OSError as error:
        yield serious(
            "disk",
            f"{folder} is of no use: {error.strerror or error}",
            "make it writable for the user of the agent and its disk sound, or set [node] "
            "state_dir to another directory",
        )
        return
    figures = os.statvfs(folder)
    yield from judge_room(place_of(folder), kind, figures)
    yield from judge_exec(folder, figures)
    if len(str(folder)) + TASK_PATH_CHARS > SOCKET_PATH_CHARS_MAX:
        yield warning(
            "path",
            f"{folder} is a long path: a program that makes a socket in the directory of its task "
            f"may fail, as the kernel takes {SOCKET_PATH_CHARS_MAX} characters",
            "set [node] state_dir to a shorter one if such programs run here",
        )


def judge_exec(folder: Path, found: os.statvfs_result) -> Iterator[Finding]:
    """Say whether tasks can run the programs that come with them."""
    if found.f_flag & os.ST_NOEXEC:
        yield warning(
            "disk",
            f"{folder} is mounted noexec: programs that come with a task cannot be run",
            "mount it without noexec, or set [node] state_dir elsewhere",
        )


def _try_out(folder: Path) -> None:
    """Do there what an agent does: write through to the disk, lock, listen. Raises OSError."""
    probe = folder / f".preflight-{secrets.token_hex(4)}"
    descriptor = os.open(probe, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, b"\0" * PROBE_BYTES)
        os.fsync(descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        probe.unlink()
        _listen_in(folder, probe.name)
    finally:
        os.close(descriptor)
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)


def _listen_in(folder: Path, name: str) -> None:
    directory = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            # Through /proc a path of any length fits into an address.
            listener.bind(f"/proc/self/fd/{directory}/{name}")
    finally:
        os.close(directory)


def _locks(node: NodeSettings, reading: Reading) -> Iterator[Finding]:
    if not reading.gpus:
        return
    try:
        lock_dir(node.lock_dir)
    except PermissionError as error:
        yield serious("gpus", str(error.strerror), "otherwise two agents could share a card")
