"""A real scheduler process and bare sockets to it: what a stranger, a client or a node can send."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import zmq

from remuda.config.endpoints import Endpoints, read_endpoints, tcp_url
from remuda.config.home import Home
from remuda.config.keys import AuthorizedKey, Identity, KeyPair, generate, save_authorized
from remuda.protocol import capabilities as wire_capabilities
from remuda.protocol import codec
from remuda.protocol import messages as m

WAIT_S = 110.0
DAEMON = ("-P", "-m", "remuda.scheduler")
SMALL = {"REMUDA_SCHEDULER__BALLAST": "1MiB"}  # the folders of many tests are kept
ROLES = {"alice": "submit", "bob": "submit", "vera": "viewer", "oscar": "operator",
         "root": "admin", "n1": "node", "n2": "node"}  # fmt: skip
_Seen = TypeVar("_Seen")


def wait_for(look: Callable[[], _Seen | None], what: str) -> _Seen:
    """Look again until there is something; fail after WAIT_S."""
    ends = time.monotonic() + WAIT_S
    while True:
        seen = look()
        if seen:
            return seen
        assert time.monotonic() < ends, f"waited {WAIT_S} s for {what}"
        time.sleep(0.01)


class RawScheduler:
    """One scheduler in a home of its own, on free ports or from one on, and a key for each name."""

    def __init__(
        self,
        root: Path,
        config: str = "",
        program: Sequence[str] = DAEMON,
        *,
        roles: dict[str, str] = ROLES,
        port: int = 0,
    ) -> None:
        self.program = program
        self.home = Home(root)
        self.home.create()
        self.home.config_file.write_text(config, encoding="utf-8")
        self.port = port
        self.keys: dict[str, KeyPair] = {name: generate() for name in roles}
        authorized = [AuthorizedKey(n, roles[n], pair.public) for n, pair in self.keys.items()]
        save_authorized(self.home.authorized_file, authorized)
        self.context = zmq.Context()
        self.log_path = root / "scheduler.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._sockets: list[zmq.Socket[Any]] = []

    def start(self) -> Endpoints:
        """Start the daemon and return where it listens."""
        self.launch()
        return wait_for(self._published, "endpoints")

    def _published(self) -> Endpoints | None:
        assert self.is_alive(), self.log()[-4_000:]
        return read_endpoints(self.home.endpoints_file)

    def launch(self) -> None:
        """Start the daemon."""
        self.home.endpoints_file.unlink(missing_ok=True)
        command = [sys.executable, *self.program, "--port", str(self.port)]
        environment = {**SMALL, **os.environ, "REMUDA_HOME": str(self.home.root)}
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stderr=log)

    @property
    def endpoints(self) -> Endpoints:
        found = read_endpoints(self.home.endpoints_file)
        assert found is not None
        return found

    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8")

    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End what the test left: the daemon and all sockets."""
        if self.is_alive():
            self.kill()
        self.context.destroy(linger=0)

    def stop(self) -> int:
        """Ask the daemon to stop and return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT_S)

    def socket(self, kind: int, pair: KeyPair | None, port: int) -> zmq.Socket[Any]:
        """Dial a port, with CURVE if a key is given."""
        socket = self.context.socket(kind)
        self._sockets.append(socket)  # closed with the context, not by chance
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, int(WAIT_S * 1000))
        socket.setsockopt(zmq.SNDTIMEO, int(WAIT_S * 1000))
        if kind == zmq.SUB:
            socket.setsockopt(zmq.SUBSCRIBE, b"")
        if kind == zmq.REQ:
            socket.setsockopt(zmq.REQ_RELAXED, 1)
            socket.setsockopt(zmq.REQ_CORRELATE, 1)
        if pair is not None:
            socket.setsockopt(zmq.CURVE_SERVERKEY, self.endpoints.scheduler_public.encode())
            socket.setsockopt(zmq.CURVE_PUBLICKEY, pair.public.encode())
            socket.setsockopt(zmq.CURVE_SECRETKEY, pair.secret.encode())
        socket.connect(tcp_url("127.0.0.1", port))
        return socket

    def identity(self, name: str) -> Identity:
        """Return what the key file of a node holds."""
        found = self.endpoints
        return Identity(
            name,
            "node",
            self.keys[name],
            found.scheduler_public,
            found.url("control"),
            found.cluster,
        )

    def client(self, name: str) -> RawClient:
        return RawClient(self.socket(zmq.REQ, self.keys[name], self.endpoints.control))

    def node(self, name: str) -> RawNode:
        return RawNode(self, name)


class RawClient:
    """A REQ socket that speaks frames of ours."""

    def __init__(self, socket: zmq.Socket[Any]) -> None:
        self.socket = socket

    def ask(self, message: m.Message) -> Any:
        """Send a request and return the answer, whatever it is."""
        return self.ask_frame(codec.encode(message, 0))

    def ask_frame(self, frame: bytes) -> Any:
        self.socket.send(frame)
        return codec.decode(self.socket.recv()).message

    def submit(self, count: int = 1, **fields: Any) -> Any:
        """Submit commands and return the answer."""
        self.send_submit(count, **fields)
        return codec.decode(self.socket.recv()).message

    def send_submit(self, count: int = 1, **fields: Any) -> None:
        """Submit commands."""
        known: dict[str, Any] = {
            "submit_key": secrets.token_bytes(16),
            "session": b"",
            "specs": [{"kind": "command", "argv": ["true"]}],
            "spec_index": [0] * count,
            "args": [b""] * count,
        }
        self.socket.send(codec.encode(m.Submit(**(known | fields)), 0))


class RawNode:
    """A node that does what the test says."""

    def __init__(self, scheduler: RawScheduler, name: str) -> None:
        self._scheduler = scheduler
        self.name = name
        self.incarnation = secrets.token_bytes(16)
        self.control = scheduler.client(name)
        pair, ports = scheduler.keys[name], scheduler.endpoints
        self.uplink = scheduler.socket(zmq.PUSH, pair, ports.uplink)
        self.heartbeat = scheduler.socket(zmq.PUB, pair, ports.heartbeat)
        self.dispatch: zmq.Socket[Any] | None = None
        self.held: m.Offer | None = None
        self.seq = 0

    def register(self, cpus: int = 4) -> m.Registered:
        known = wire_capabilities.Capabilities(cpus * 1000, 8 << 30)
        document = wire_capabilities.to_document(known)
        answer = self.control.ask(
            m.Register(self.name, self.incarnation, "boot", 1, 1, document, *self._holding())
        )
        assert isinstance(answer, m.Registered), answer
        if self.dispatch is not None:
            self.dispatch.close(linger=0)
        pair = self._scheduler.keys[self.name]
        self.dispatch = self._scheduler.socket(zmq.PULL, pair, answer.dispatch_port)
        return answer

    def hang_up(self) -> None:
        """Leave the scheduler, as the agent before this one has when another registers."""
        for socket in (self.uplink, self.heartbeat, self.dispatch, self.control.socket):
            if socket is not None:
                socket.close(linger=0)

    def _holding(self) -> tuple[list[bytes], list[int], list[bytes], list[int]]:
        held = self.held
        if held is None:
            return [], [], [], []
        running = [int(m.Phase.RUNNING)] * len(held.tasks)
        return held.tasks, held.attempts, held.tokens, running

    def beat(self) -> None:
        """Say what is held, as a heartbeat does."""
        self.seq += 1
        tasks, attempts, _, phases = self._holding()
        frame = m.Heartbeat(
            self.incarnation, self.seq, 1 << 40, tasks, attempts, phases, {}, 0, 0, {}
        )
        self.heartbeat.send(codec.encode(frame, 0))

    def say(self, message: m.Message) -> None:
        self.uplink.send(codec.encode(message, 0))

    def hear(self, kind: type[m.Message]) -> Any:
        """Return the next dispatched message of a kind."""
        assert self.dispatch is not None
        while True:
            message = codec.decode(self.dispatch.recv()).message
            if isinstance(message, kind):
                return message

    def finish(self, offer: m.Offer, value: bytes = b"", details: bytes = b"") -> None:
        """Let all offered attempts succeed."""
        n = len(offer.tasks)
        self.say(
            m.Results(offer.tasks, offer.attempts, offer.tokens, [0] * n, [value] * n,
                      [details] * n, [1_000] * n)
        )  # fmt: skip


@contextmanager
def raw_scheduler(
    root: Path, config: str = "", program: Sequence[str] = DAEMON
) -> Iterator[RawScheduler]:
    """Run a scheduler for the length of a test; it must still live at its end."""
    scheduler = RawScheduler(root, config, program)
    try:
        scheduler.start()
        yield scheduler
        assert scheduler.is_alive(), scheduler.log()[-4_000:]
    finally:
        scheduler.close()
