"""A host of its own under the real systemd: namespaces, with a cgroup tree and files of its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .raw import wait_for

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_suffix(".sh")
SYSTEMD = Path("/lib/systemd/systemd")
CGROUPS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))
COMMAND_WAIT_S = 120
PROBE = """
mount -t tmpfs t {0} && mkdir {0}/u {0}/w &&
mount -t overlay -o lowerdir=/etc,upperdir={0}/u,workdir={0}/w o /etc
"""


def cgroup_mount() -> Path | None:
    """Return where version 2 cgroups are mounted and may be made."""
    for folder in CGROUPS:
        if (folder / "cgroup.controllers").exists() and os.access(folder, os.W_OK):
            return folder
    return None


def why_not(folder: Path) -> str:
    """Say what keeps a systemd from running here; nothing when one can."""
    if os.geteuid() != 0 or not SYSTEMD.exists() or shutil.which("nsenter") is None:
        return "root, systemd and nsenter are needed"
    if cgroup_mount() is None:
        return "no cgroup tree of version 2 that we may write to"
    argv = ["unshare", "-m", "-p", "-f", "-C", "-u", "-i", "sh", "-c", PROBE.format(folder)]
    done = subprocess.run(argv, capture_output=True, check=False)
    return "" if done.returncode == 0 else "namespaces or overlays may not be made"


class SystemdHost:
    """The host; `run` is a command of root on it."""

    def __init__(self, folder: Path) -> None:
        mount = cgroup_mount()
        assert mount is not None
        self.log = folder / "systemd.log"
        self._cgroup = mount / f"remuda-test-{secrets.token_hex(4)}"
        self._cgroup.mkdir()
        files = folder / "files"
        files.mkdir()
        self.kept = folder / "kept"
        self.kept.mkdir()
        venv = str(Path(sys.executable).parent.parent)
        own = f'echo $$ > {self._cgroup}/cgroup.procs; exec "$@"'
        spaces = ["unshare", "-m", "-p", "-f", "--mount-proc", "-C", "-u", "-i", "--kill-child"]
        words = [*spaces, str(SCRIPT), str(files), venv, str(ROOT), str(self.kept)]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", own, "sh", *words], stdout=log, stderr=log, start_new_session=True
            )
        wait_for(self._is_up, "systemd")

    def _children(self) -> list[str]:
        pid = self._process.pid
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()

    def _is_up(self) -> bool:
        assert self._process.poll() is None, self.log.read_text()
        return "running" in self.run("systemctl is-system-running || true", check=False).stdout

    def run(self, line: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a line of shell on the host, as root."""
        children = self._children()
        if not children:
            return subprocess.CompletedProcess(line, 1, "", "not up yet")
        spaces = ["nsenter", "-t", children[0], "-m", "-p", "-C", "-u", "-i"]
        argv = [*spaces, "env", "LD_LIBRARY_PATH=/opt/python/lib", "sh", "-c", line]
        done = subprocess.run(
            argv, capture_output=True, text=True, check=False, timeout=COMMAND_WAIT_S
        )
        if check:
            logs = "" if done.returncode == 0 else self.logs()
            assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}\n{logs}"
        return done

    def remuda(self, words: str) -> str:
        """Run `remuda` as the service's user, who is the admin of the scheduler's home."""
        command = f"runuser -u remuda -- /opt/remuda/bin/remuda --home /var/lib/remuda {words}"
        return self.run(f"cd /; {command}").stdout

    def logs(self) -> str:
        return self.run("tail -n 20 /run/logs/*.log", check=False).stdout

    def show(self, unit: str, name: str) -> str:
        return self.run(f"systemctl show {unit} --property={name} --value").stdout.strip()

    def wait_off(self) -> None:
        """Wait until the host is down."""
        wait_for(lambda: self._process.poll() is not None, "the end of the host")

    def close(self) -> None:
        for child in self._children() if self._process.poll() is None else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), 9)
        self._process.wait(30)
        for folder in sorted(self._cgroup.rglob("*"), reverse=True):
            if folder.is_dir():
                _remove_cgroup(folder)
        _remove_cgroup(self._cgroup)


def _remove_cgroup(folder: Path) -> None:
    """Remove a cgroup; the kernel takes a moment to let go of what has died in it."""
    for _ in range(200):
        with contextlib.suppress(FileNotFoundError):
            try:
                folder.rmdir()
            except OSError:
                time.sleep(0.02)
                continue
        return


@contextmanager
def systemd_host(folder: Path) -> Iterator[SystemdHost]:
    """Run such a host for the length of a block."""
    host = SystemdHost(folder)
    try:
        yield host
    finally:
        host.close()
