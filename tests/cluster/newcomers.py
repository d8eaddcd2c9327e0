"""How do tests come to a cluster as strangers: hosts that share nothing with it but an address?"""

from __future__ import annotations

import contextlib
import signal
import socket as tcp
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zmq

from remuda.config.invitation import Invitation
from remuda.config.keys import KeyPair, generate
from remuda.protocol import messages as m

from ..fakes.raw import RawScheduler
from .command_line import COMMAND, DEADLINE_S

ADMITTED, REFUSED = zmq.EVENT_HANDSHAKE_SUCCEEDED, zmq.EVENT_HANDSHAKE_FAILED_AUTH
AGENT = (sys.executable, "-P", "-m", "remuda.node")
LAB = '[cluster]\nname = "lab"\n'


class Host:
    """A host of its own: another HOME, nothing of ours in its environment, started from `/`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "var"
        folder.mkdir(parents=True)
        self.env = {
            "HOME": str(folder),
            "PATH": "/usr/bin:/bin",
            "REMUDA_NODE__LOCK_DIR": str(folder / "locks"),
            "REMUDA_NODE__GPUS": "[]",
            "COLUMNS": "160",
        }
        self.agents: list[subprocess.Popen[str]] = []

    def remuda(self, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Type a command."""
        return self.run(COMMAND, *words, text=text)

    def node(self, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run the agent to its end."""
        return self.run(AGENT, "--home", str(self.home), *words, text=text)

    def start(self, *words: str, line: str = "") -> subprocess.Popen[str]:
        """Start the agent and leave it running."""
        env = self.env | ({"REMUDA_JOIN": line} if line else {})
        with (self.folder / "log").open("ab") as log:
            agent = subprocess.Popen(
                [*AGENT, "--home", str(self.home), *words], env=env, cwd="/", stderr=log, text=True
            )
        self.agents.append(agent)
        return agent

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def close(self) -> None:
        for agent in self.agents:
            agent.send_signal(signal.SIGTERM)
            agent.wait(DEADLINE_S)

    def run(self, *words: Any, text: str) -> subprocess.CompletedProcess[str]:
        program, *arguments = words
        return subprocess.run(
            [*program, *arguments],
            env=self.env,
            cwd="/",
            input=text,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )


def invite(
    scheduler: RawScheduler, role: str, name: str = "", valid_ms: int = 900_000
) -> Invitation:
    """Make an invitation as `remuda key invite` does."""
    pair, found = generate(), scheduler.endpoints
    told = scheduler.client("root").ask(m.Invite(name, role, pair.public, valid_ms))
    assert isinstance(told, m.Document), told
    return Invitation(
        found.url("control"), found.scheduler_public, pair.secret, name, role, found.cluster
    )


def ask(scheduler: RawScheduler, pair: KeyPair, *messages: m.Message) -> list[Any]:
    """Ask with any key and return the answers."""
    scheduler.keys["somebody"] = pair
    client = scheduler.client("somebody")
    return [client.ask(message) for message in messages]


def keys_of(scheduler: RawScheduler) -> dict[str, str]:
    rows = scheduler.client("root").ask(m.ListKeys()).rows
    return {row["name"]: f"{row['role']} {row['state']}" for row in rows}


def handshake(scheduler: RawScheduler, kind: int, pair: KeyPair, port: int) -> int:
    """Dial and return the verdict."""
    socket = scheduler.context.socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.CURVE_SERVERKEY, scheduler.endpoints.scheduler_public.encode())
    socket.setsockopt(zmq.CURVE_PUBLICKEY, pair.public.encode())
    socket.setsockopt(zmq.CURVE_SECRETKEY, pair.secret.encode())
    with socket, socket.get_monitor_socket(REFUSED | ADMITTED) as monitor:
        monitor.setsockopt(zmq.RCVTIMEO, int(DEADLINE_S * 1_000))
        socket.connect(f"tcp://127.0.0.1:{port}")
        frames = monitor.recv_multipart()
        socket.disable_monitor()
    return int.from_bytes(frames[0][:2], "little")


@contextmanager
def only_control(scheduler: RawScheduler, address: str) -> Iterator[str]:
    """Let one port of the scheduler be reached at another address of this host, and no other."""
    listener = tcp.create_server((address, scheduler.endpoints.control))

    def serve() -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = tcp.create_connection(("127.0.0.1", scheduler.endpoints.control))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=pump, args=(source, sink), daemon=True).start()

    server = threading.Thread(target=serve)
    server.start()
    try:
        yield f"tcp://{address}:{scheduler.endpoints.control}"
    finally:
        listener.shutdown(tcp.SHUT_RDWR)
        listener.close()
        server.join()


def pump(source: tcp.socket, sink: tcp.socket) -> None:
    with source, sink, contextlib.suppress(OSError):  # the other one may close them first
        while chunk := source.recv(65_536):
            sink.sendall(chunk)
