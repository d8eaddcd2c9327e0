"""A real redis-server for one test, a slow road to it, and what can be done to both."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

WAIT_S = 30.0
CHUNK = 65_536


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Road:
    """A TCP port that leads to another; answers take `delay_s` to come back."""

    def __init__(self, to_port: int) -> None:
        self.delay_s = 0.0
        self._to_port = to_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._closed = False
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._closed = True
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(WAIT_S)
        self._listener.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._to_port), 2.0)
            except OSError:
                near.close()
                continue
            thread = threading.Thread(target=self._carry, args=(near, far), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        with near, far:
            while not self._closed:
                for ready in select.select([near, far], [], [], 0.2)[0]:
                    try:
                        chunk = ready.recv(CHUNK)
                        if not chunk:
                            return
                        if ready is far:
                            time.sleep(self.delay_s)
                        (near if ready is far else far).sendall(chunk)
                    except OSError:
                        return


class RedisServer:
    """One server in a folder of its own; `url` leads over the road, `client` goes straight."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.road = Road(self._port)
        self.url = f"redis://127.0.0.1:{self.road.port}/0"
        self.client = redis.Redis(port=self._port, socket_timeout=WAIT_S)

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._folder.mkdir(exist_ok=True)
        self._process = subprocess.Popen(
            ["redis-server", "--port", str(self._port), "--bind", "127.0.0.1", "--save", "",
             "--dir", str(self._folder)],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        ends = time.monotonic() + WAIT_S
        while not self._answers():
            assert time.monotonic() < ends, "redis-server does not answer"
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False

    def kill(self) -> None:
        """Kill it; everything in it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def hang_up(self) -> None:
        """End every connection but ours."""
        self.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def keys(self, pattern: str = "remuda:*") -> list[bytes]:
        return list(self.client.scan_iter(pattern, count=1_000))

    def close(self) -> None:
        if self._process is not None:
            self.send(signal.SIGCONT)
        self.client.close()
        self.kill()
        self.road.close()


@contextmanager
def redis_server(folder: Path, *, started: bool = True) -> Iterator[RedisServer]:
    """Run a server for the length of a test; skips where there is none to run."""
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server: bin/test installs the distribution's package where it can")
    server = RedisServer(folder)
    try:
        if started:
            server.start()
        yield server
    finally:
        server.close()
