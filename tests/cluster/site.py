"""How do tests run a cluster over hosts that share nothing: no disk, no address, no environment?

The scheduler and the store are on this machine, with the client's files; each node is a host of
its own (examples/photos/hosts.py), started in `/`, with a home, a virtual environment and a copy of
remuda of its own, and without the client's folder and ours. It joins by the line of an invitation.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from remuda.cli import ports
from remuda.client.client import Client
from remuda.config.endpoints import read_endpoints
from remuda.config.home import Home

from ..fakes.raw import SMALL
from .command_line import COMMAND, wait_until
from .far import ROOT, hosts, plain_environment

LOG_TAIL_CHARS = 4_000
STOP_S = 30.0
DAEMONS = {"scheduler": "remuda.scheduler.__main__", "store": "remuda.store.__main__"}


class Site:
    """A running cluster; `files` is the client's folder, which no host sees."""

    def __init__(self, folder: Path, made: object, settings: str) -> None:
        self.folder = folder
        self.files = folder / "client"
        self.home = Home(folder / "front")
        self.hosts = {host.name: host for host in made.hosts}  # type: ignore[attr-defined]  # of a module loaded by path
        self._running: dict[str, subprocess.Popen[str]] = {}
        self.home.create()
        address = made.address  # type: ignore[attr-defined]  # as above
        # What is killed comes back where the others look for it.
        port = ports.free_control_port(address, len(self.hosts), random.SystemRandom())
        listen = f'[scheduler]\nlisten = "{address}"\nport = {port}\n'
        self.home.config_file.write_text(listen + settings)

    def start_front(self) -> None:
        """Start scheduler and store; return when both listen."""
        self.start("scheduler")
        wait_until(lambda: read_endpoints(self.home.endpoints_file) is not None, "no scheduler")
        self.start("store")
        wait_until((self.home.run_dir / "store.json").exists, "no store")

    def start(self, daemon: str) -> None:
        """Start one of the daemons of this machine, again if it was killed."""
        with self._log(daemon) as log:
            self._running[daemon] = subprocess.Popen(
                [sys.executable, "-P", "-m", DAEMONS[daemon], "--home", str(self.home.root)],
                env={**plain_environment(), **SMALL},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
                cwd="/",
            )

    def join(self, name: str, config: str = "") -> None:
        """Let a host join by an invitation."""
        host = self.hosts[name]
        line = self.type("key", "invite", "--role", "node", "--name", name, "-q").stdout.strip()
        if config:
            place = host.home / ".local/share/remuda"
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
            (place / "remuda.toml").write_text(config)
        self.start_node(name, line)

    def start_node(self, name: str, line: str = "") -> None:
        """Start the agent of a host; it knows its cluster once it has joined."""
        host = self.hosts[name]
        env = {"REMUDA_NODE__LOCK_DIR": str(host.folder / "locks")}
        if line:
            env["REMUDA_JOIN"] = line
        with self._log(name) as log:
            self._running[name] = host.start(
                [host.program("remuda-node")], env, stdout=log, stderr=log
            )

    def kill(self, name: str) -> None:
        """Kill a daemon as nothing can prevent; of a host only its agent."""
        process = self._running.pop(name)
        process.kill()
        process.wait(STOP_S)

    def type(self, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run `remuda` as the user of this machine, in the client's folder."""
        return subprocess.run(
            [*COMMAND, *words],
            env={**plain_environment(), "REMUDA_HOME": str(self.home.root), "COLUMNS": "160"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            cwd=cwd or self.files,
            check=False,
        )

    def client(self) -> Client:
        return Client(self.home.root)

    def wait_nodes(self, names: Sequence[str]) -> None:
        """Wait until these nodes take work."""
        with self.client() as client:
            wait_until(
                lambda: {
                    row["name"] for row in client.nodes() if row["state"] == "ready"
                }.issuperset(names),
                f"{', '.join(names)} did not join",
            )

    def logs(self) -> str:
        """Return the ends of all logs."""
        paths = sorted(self.folder.glob("*.log"))
        return "\n".join(f"--- {p.name}\n{p.read_text()[-LOG_TAIL_CHARS:]}" for p in paths)

    def close(self) -> None:
        """Stop everything; what does not end is killed and is a failure."""
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        left = []
        for name, process in self._running.items():
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                left.append(name)
        assert [] == left, "these did not stop"

    def _log(self, name: str):  # type: ignore[no-untyped-def]  # a file
        return (self.folder / f"{name}.log").open("a")


@contextmanager
def real_site(
    folder: Path, names: Sequence[str] = ("a", "b"), settings: str = ""
) -> Iterator[Site]:
    """Run a cluster over hosts of their own, all of which have joined."""
    (folder / "client").mkdir()
    try:
        with hosts.site(folder / "hosts", names, [ROOT, folder / "client"]) as made:
            site = Site(folder, made, settings)
            try:
                site.start_front()
                for name in names:
                    site.join(name)
                site.wait_nodes(names)
                yield site
            except BaseException:
                print(site.logs())  # pytest shows it with the failure
                raise
            finally:
                site.close()
    except hosts.HostsError as error:
        pytest.skip(f"no hosts of their own here: {error}")
