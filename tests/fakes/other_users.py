"""Users of this host for a test, and the helper that starts tasks as them: only root has either."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from .raw import wait_for

WHY_NOT = "no right to add users to this host"
UIDS = range(23_000, 60_000)


def may_add_users() -> bool:
    """Tell whether users can be added here, and taken away again."""
    return os.geteuid() == 0 and all(map(shutil.which, ("useradd", "userdel")))


@contextmanager
def users(*uids: int) -> Iterator[list[str]]:
    """Add users to this host, with these ids (0: any that is free), and take them away again."""
    names: list[str] = []
    try:
        for uid in uids:
            name = f"rmd{secrets.token_hex(4)}"
            number = uid or next(each for each in _mixed() if not _is_known(each))
            argv = ["useradd", "--uid", str(number), "--no-create-home", "--user-group", name]
            subprocess.run(argv, check=True, capture_output=True)
            names.append(name)
        yield names
    finally:
        for name in names:
            # By force: processes in other namespaces may have the same number.
            subprocess.run(["userdel", "--force", name], check=False, capture_output=True)


def _mixed() -> Iterator[int]:
    while True:  # other tests may add users at the same time
        yield secrets.choice(UIDS)


def _is_known(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


@contextmanager
def open_folder() -> Iterator[Path]:
    """Make a folder through which everybody may pass, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp(prefix="remuda-as-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Helper:
    """A helper that listens."""

    socket: Path
    allowed: Path
    process: subprocess.Popen[bytes]

    def keepers(self) -> list[psutil.Process]:
        """Return the processes that have a connection."""
        return psutil.Process(self.process.pid).children()


@contextmanager
def helper(folder: Path, allowed: str, agent: str = "root") -> Iterator[Helper]:
    """Start a helper; `allowed` names the users, as a list of TOML."""
    file, socket = folder / "run-as.toml", folder / "run-as.sock"
    file.write_text(f'agent = "{agent}"\nusers = {allowed}\n')
    argv = [sys.executable, "-I", "-m", "remuda.node.run_as"]
    log = (folder / "helper.log").open("ab")
    process = subprocess.Popen(
        [*argv, "--allowed", str(file), "--listen", str(socket)], stdout=log, stderr=log
    )
    log.close()
    try:
        wait_for(socket.exists, "the helper")
        yield Helper(socket, file, process)
    finally:
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        for each in children:
            if each.is_running():
                each.kill()
