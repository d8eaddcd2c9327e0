"""How a runner process begins and ends: its session, its signals, its directory."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
from pathlib import Path

from ...worker import frames
from . import cgroup, tree
from .note import note
from .orders import boot_id
from .runner import Runner

LOCK_FD = 3
"""The descriptor of the locked `lock` file, inherited from the agent and held for life."""


def main() -> None:
    """Run one runner in the directory named on the command line."""
    options = _options()
    directory = Path(options.directory)
    with contextlib.suppress(PermissionError):  # already the leader of a session
        os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.set_inheritable(LOCK_FD, False)  # noqa: FBT003 - positional only
    locks = dict(_lock(text) for text in options.lock)
    _close_strangers({0, 1, 2, LOCK_FD, *locks.values()})
    os.chdir(directory)
    tree.become_subreaper()
    own_cgroup = cgroup.enter(directory.name)
    runner = Runner(directory, idle_s=options.idle_s, locks=locks, own_cgroup=own_cgroup)
    _write_identity(directory, own_cgroup)
    runner.run()
    cgroup.leave(own_cgroup)
    _clean(directory)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("--idle-s", type=float, default=60.0)
    parser.add_argument("--lock", action="append", default=[], metavar="NAME=FD")
    return parser.parse_args()


def _lock(text: str) -> tuple[str, int]:
    name, _, fd = text.rpartition("=")
    os.set_inheritable(int(fd), False)  # noqa: FBT003 - positional only
    return name, int(fd)


def _close_strangers(keep: set[int]) -> None:
    """Close descriptors that slipped through the agent: a task must not inherit them."""
    for path in Path("/proc/self/fd").iterdir():
        if int(path.name) not in keep:
            with contextlib.suppress(OSError):  # the listing's own descriptor
                os.close(int(path.name))


def _write_identity(directory: Path, own_cgroup: str) -> None:
    identity = {
        "pid": os.getpid(),
        "start_ticks": _start_ticks(),
        "boot_id": boot_id(),
        "protocol": frames.PROTOCOL,
        "cgroup": own_cgroup,
    }
    new = directory / "runner.json.new"
    try:
        new.write_text(json.dumps(identity))
        new.replace(directory / "runner.json")
    except OSError as error:  # a full disk: the lock says that we live, the environment who is ours
        note(f"identity: {error}")


def _start_ticks() -> int:
    stat = Path("/proc/self/stat").read_bytes()
    return int(stat[stat.rindex(b")") + 2 :].split()[19])


def _clean(directory: Path) -> None:
    """Remove what nobody needs; output that the agent keeps and unacknowledged answers stay."""
    for pattern in ("runner.json", "runner.log", "worker.log*"):
        for path in directory.glob(pattern):
            path.unlink()
    shutil.rmtree(directory / "work", ignore_errors=True)
    for path in directory.glob("spool.*"):
        if path.stat().st_size == 0:
            path.unlink()
    with contextlib.suppress(OSError):  # not empty: the agent removes it after its last reader
        if (directory / "a").is_dir():
            (directory / "a").rmdir()
        if {path.name for path in directory.iterdir()} <= {"lock"}:
            (directory / "lock").unlink()
            directory.rmdir()
