"""How do tests run daemons and clients of the release before this one beside those of today?

Each node is on a host of its own (far.py).
"""

from __future__ import annotations

import io
import os
import random
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from remuda.cli import ports, setup_home
from remuda.cli.daemons import Daemon
from remuda.cli.dealing import Share
from remuda.client.client import Client
from remuda.config.home import Home
from remuda.config.load import load

from ..fakes.raw import SMALL
from .command_line import DEADLINE_S, wait_until
from .far import far
from .far_up import moved
from .harness import LOG_TAIL_CHARS, processes_naming

ROOT = Path(__file__).resolve().parents[2]
BEFORE = "5b11b197e2227eec4b9b8818fc9afb7cf3ef4dae"
"""The last state of the code that speaks protocol 1 and writes journals of schema 1."""
MEMORY_BYTES = 4 << 30
OLD, NEW = "old", "new"


def unpack_release_before(folder: Path, commit: str = BEFORE) -> Path:
    """Unpack the code of an earlier state into a folder; return where its package is."""
    try:
        archive = subprocess.run(
            ["git", "-C", str(ROOT), "archive", commit], capture_output=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"no git history that reaches back to {commit[:7]}")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return folder / "src"


class TwoReleases:
    """A home whose daemons are each of one of two releases, and a command line of either."""

    def __init__(self, folder: Path, settings: str, cpus: Sequence[int]) -> None:
        self.folder = folder
        self.source = {OLD: unpack_release_before(folder / "before"), NEW: ROOT / "src"}
        self.home = Home(folder / "home")
        self.home.create()
        address = far().address
        self.home.config_file.write_text(f'[scheduler]\nlisten = "{address}"\n{settings}')
        shares = [Share(count, MEMORY_BYTES, ()) for count in cpus]
        port = ports.free_control_port(address, len(shares), random.SystemRandom())
        settings_read = load(self.home.root).settings
        plan = setup_home.Plan(self.home, settings_read, port, shares, folder / "lib")
        self._daemons: dict[str, Daemon] = {d.name: d for d in setup_home.prepare(plan)}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        disk = [folder / name for name in ("before", "lib", "locks")]
        disk[-1].mkdir()
        self._hosts = far().description(self.home, tuple(disk))

    def environment(self, release: str) -> dict[str, str]:
        """Let an interpreter import one release, which comes before what is installed."""
        kept = {key: text for key, text in os.environ.items() if not key.startswith("REMUDA_")}
        return {
            **kept,
            **(SMALL if release == NEW else {}),
            "REMUDA_HOME": str(self.home.root),
            "REMUDA_NODE__LOCK_DIR": str(self.folder / "locks"),
            "PYTHONPATH": str(self.source[release]),
            "COLUMNS": "160",
        }

    def _node_environment(self, release: str) -> dict[str, str]:
        """Let an agent import one release; that of today is the copy that its host has."""
        locks = {"REMUDA_NODE__LOCK_DIR": str(self.folder / "locks")}
        return locks | ({"PYTHONPATH": str(self.source[OLD])} if release == OLD else {})

    def start(self, name: str, release: str) -> None:
        """Start a daemon of one release."""
        daemon = self._daemons[name]
        if name in self._hosts:
            daemon = moved(daemon, self._hosts[name], self._node_environment(release))
        if daemon.is_scheduler:
            self.home.endpoints_file.unlink(missing_ok=True)
        with daemon.log_file.open("ab") as log:
            self._running[name] = subprocess.Popen(
                daemon.argv,
                cwd=daemon.folder,
                env=self.environment(release),
                stderr=log,
                start_new_session=True,
            )
        if daemon.is_scheduler:
            wait_until(self._listens, "the scheduler does not listen")

    def _listens(self) -> bool:
        assert self._running["scheduler"].poll() is None, self.logs()
        return self.home.endpoints_file.exists()

    def kill(self, name: str) -> None:
        """Kill a daemon as nothing can prevent."""
        process = self._running.pop(name)
        process.kill()
        process.wait(DEADLINE_S)

    def python(self, release: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run an interpreter that imports one release."""
        return subprocess.run(
            [sys.executable, "-P", *words],
            cwd=self.folder,
            env=self.environment(release),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def type(self, release: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Type `remuda` of one release."""
        return self.python(release, "-m", "remuda.cli.main", *words)

    def client(self) -> Client:
        """Return a client of today."""
        return Client(self.home.root)

    def logs(self) -> str:
        """Return the ends of all logs."""
        texts = []
        for path in sorted(self.home.logs_dir.glob("*.log")):
            texts.append(f"--- {path.name}\n{path.read_text(errors='replace')[-LOG_TAIL_CHARS:]}")
        return "\n".join(texts)

    def close(self) -> None:
        """Stop the nodes with all that they run, then the scheduler; kill what is left."""
        for name in sorted(self._running, key=lambda name: name == "scheduler"):
            process = self._running.pop(name)
            process.send_signal(signal.SIGTERM)
            process.wait(DEADLINE_S)
        for left in processes_naming(str(self.home.root)):
            left.kill()
        psutil.wait_procs(processes_naming(str(self.home.root)), DEADLINE_S)


@contextmanager
def two_releases(folder: Path, settings: str, cpus: Sequence[int]) -> Iterator[TwoReleases]:
    """Prepare a home with a node for each number of CPUs; nothing stays."""
    made = TwoReleases(folder, settings, cpus)
    try:
        yield made
    finally:
        print(made.logs())  # pytest shows it with a failure
        made.close()
