"""A real store process in a home of its own, with a key for each name, and movers to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from remuda.config.endpoints import tcp_url
from remuda.config.home import Home
from remuda.config.keys import KeyPair, ensure_key_pair, generate
from remuda.config.store_home import (
    ensure_store_secret,
    keys_file,
    objects_dir,
    port_file,
    read_store_port,
    write_store_keys,
)
from remuda.protocol import claims
from remuda.transfer import Mover, Source, digest_bytes

from .dying_store import STEP
from .raw import wait_for

DAEMON = ("-m", "remuda.store")
ROLES = {"alice": "submit", "bob": "submit", "root": "admin", "n1": "node", "store": "store"}


class StoreDaemon:
    """One store; `config` is the home's configuration file, `listen` its address."""

    def __init__(self, root: Path, config: str = "", listen: str = "127.0.0.1") -> None:
        self._listen = listen
        self.home = Home(root)
        self.home.create()
        self.home.config_file.write_text(config, encoding="utf-8")
        self.keys: dict[str, KeyPair] = {name: generate() for name in ROLES}
        self.admit(*ROLES)
        self.secret = ensure_store_secret(self.home)
        self.public = ensure_key_pair(self.home.key_file("scheduler")).public
        self.log_path = root / "store.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self._movers: list[Mover] = []

    def admit(self, *names: str) -> None:
        """Let these names in, and nobody else."""
        table = {self.keys[name].public: (name, ROLES[name]) for name in names}
        write_store_keys(keys_file(self.home), table)

    def start(self, dies_when: str = "") -> None:
        """Start the daemon and wait until it listens; after the first time at the same port.

        `dies_when` is a step of `dying_store.STEPS` at which it kills itself.
        """
        port_file(self.home).unlink(missing_ok=True)
        program = [str(Path(__file__).with_name("dying_store.py"))] if dies_when else DAEMON
        argv = [sys.executable, "-P", *program, "--home", str(self.home.root)]
        argv += ["--port", str(self.port)]
        env = {**os.environ, STEP: dies_when, "REMUDA_SCHEDULER__LISTEN": self._listen}
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, env=env)
        self.port = wait_for(self._listening, "the port of the store")

    def _listening(self) -> int:
        assert self.process is not None
        assert self.process.poll() is None, self.log()[-4_000:]
        return read_store_port(port_file(self.home))

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(30)

    @property
    def address(self) -> str:
        return tcp_url(self._listen, self.port)

    def mover(self, name: str = "alice", patience_s: float = 30.0) -> Mover:
        """Make a connection with the key of a name."""
        made = Mover(self.address, self.keys[name], self.public, patience_s)
        self._movers.append(made)
        return made

    def read_claim(self, name: str, digest: bytes, size: int, lives_s: float = 600) -> bytes:
        """Write the claim that the scheduler gives to whom a task entitles."""
        ends_ms = int(1000 * (time.time() + lives_s))
        claim = claims.Claim(digest, size, ends_ms)
        return claims.sign(self.secret, claims.Verb.READ, self.keys[name].public, claim)

    def have(self, name: str, claim: bytes) -> claims.Claim:
        """Check a claim as the scheduler does when it comes with a task."""
        now_ms = int(1000 * time.time())
        return claims.check(self.secret, claims.Verb.HAVE, self.keys[name].public, claim, now_ms)

    def files(self) -> list[str]:
        """Name all files with bytes of objects, whole or not."""
        root = objects_dir(self.home)
        folders = ("objects", "partial", "tmp")
        found = (path for each in folders for path in (root / each).rglob("*"))
        return sorted(str(path.relative_to(root)) for path in found if path.is_file())

    def state(self) -> dict[str, Any]:
        with Mover(self.address, self.keys["root"], self.public) as mover:
            return mover.state()

    def close(self) -> None:
        for mover in self._movers:
            mover.close()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@contextmanager
def store_daemon(
    root: Path, config: str = "", *, dies_when: str = "", listen: str = "127.0.0.1"
) -> Iterator[StoreDaemon]:
    """Run a store; what it logged is shown when the test fails."""
    daemon = StoreDaemon(root, config, listen)
    try:
        daemon.start(dies_when)
        yield daemon
    except BaseException:
        print(daemon.log()[-8_000:] if daemon.log_path.exists() else "")
        raise
    finally:
        daemon.close()


def source_of(blob: bytes, *, tree: bool = False, proofs: tuple[bytes, ...] = ()) -> Source:
    """Make a source of bytes."""
    return Source(blob, *digest_bytes(blob), tree, proofs)
