"""How does a test get a cluster of its own on this host?"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from typing import IO

from ..protocol.errors import Unreachable
from .client import Client

READY_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 60.0
LINES_KEPT = 200


class LocalCluster:
    """A scheduler and nodes in a temporary home, as `remuda up` starts them, until it is left.

    `environment` is laid over ours for the daemons.
    """

    def __init__(
        self,
        nodes: int = 1,
        *,
        home: str | os.PathLike[str] | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="remuda-") if home is None else None
        self.home = Path(self._temporary.name if self._temporary else home or "")
        self._clients: list[Client] = []
        self._said: deque[str] = deque(maxlen=LINES_KEPT)
        self._lines: queue.Queue[str] = queue.Queue()
        self.process = subprocess.Popen(
            [*self._up(), "--home", str(self.home), "--nodes", str(nodes)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **(environment or {})},
            start_new_session=True,  # Ctrl-C at the test goes to the test alone, which stops us
        )
        assert self.process.stdout is not None
        self._reader = threading.Thread(
            target=self._read, args=(self.process.stdout,), name="remuda-up", daemon=True
        )
        self._reader.start()
        try:
            self._wait_ready()
        except BaseException:
            self.close()
            raise

    @property
    def said(self) -> str:
        """Return the last lines that `remuda up` printed."""
        return "\n".join(self._said)

    def client(self) -> Client:
        """Open a client, which is closed with the cluster."""
        client = Client(self.home)
        self._clients.append(client)
        return client

    def close(self) -> None:
        """Stop the daemons and whatever they run; safe to call twice."""
        while self._clients:
            self._clients.pop().close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join(STOP_TIMEOUT_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def __enter__(self) -> LocalCluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _up(self) -> list[str]:
        """Return the command that brings a cluster up, without its options."""
        # -P: what lies in the working directory must not be taken for a library.
        return [sys.executable, "-P", "-m", "remuda.cli.main", "up"]

    def _read(self, lines: IO[str]) -> None:
        for line in lines:
            self._said.append(line.rstrip("\n"))
            if line.startswith("ready"):
                self._lines.put(line)
        self._lines.put("")

    def _wait_ready(self) -> None:
        until = time.monotonic() + READY_TIMEOUT_S
        try:
            line = self._lines.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            line = ""
        if not line:
            raise Unreachable(f"`remuda up` did not become ready; it said:\n{self.said}")
