"""A real `remuda-node` under a test, and a scheduler's side of the wire that a test speaks for.

The agent runs on a host of its own (tests/cluster/far.py), whose disk is the folder of the test.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil
import zmq
from zmq.utils.monitor import parse_monitor_message

from remuda.config.endpoints import Endpoints, write_endpoints
from remuda.config.home import Home
from remuda.config.keys import Identity, KeyPair, generate, save_identity
from remuda.protocol import codec
from remuda.protocol import messages as m
from remuda.protocol import spec as specs
from remuda.worker import values

from ..cluster.far import NODES, far

DEADLINE_S = 30.0
ARRIVED, LEFT = zmq.EVENT_HANDSHAKE_SUCCEEDED, zmq.EVENT_DISCONNECTED
GIVEN = ("REMUDA_", "NOTIFY_", "WATCHDOG_")  # settings, and what a service manager says
UPLINKS = 2  # a node has one for output
M = TypeVar("M", bound=m.Message)


def document(**fields: Any) -> bytes:
    """Encode a TaskSpec as an offer carries it."""
    return codec.pack_document(specs.to_document(specs.TaskSpec(**fields)))


def call_args(*args: Any, **kwargs: Any) -> bytes:
    return values.encode_call(args, kwargs)


def new_task() -> bytes:
    return secrets.token_bytes(16)


class Arrivals:
    """How many connections a socket has that was bound."""

    def __init__(self, socket: Any) -> None:
        self._monitor = socket.get_monitor_socket(ARRIVED | LEFT)
        self.now = 0

    def count(self) -> None:
        while self._monitor.poll(0):
            event = parse_monitor_message(self._monitor.recv_multipart())["event"]
            self.now = max(0, self.now + (1 if event == ARRIVED else -1))


class FakeScheduler:
    """The five sockets of a scheduler; a test decides what is said on them.

    With `desires` it answers each heartbeat with these as what may live.

    Every CURVE client is let in: no ZAP handler runs in this context.
    """

    def __init__(self, epoch: int = 1, keys: KeyPair | None = None) -> None:
        self.keys = keys or generate()
        self.address = far().address
        self.epoch = epoch
        self.rev = 0
        self.context: zmq.Context[Any] = zmq.Context()
        self.sockets: dict[str, Any] = {}
        self.ports: dict[str, int] = {}
        kinds = {
            "control": zmq.ROUTER,
            "uplink": zmq.PULL,
            "heartbeat": zmq.SUB,
            "beacon": zmq.PUB,
            "dispatch": zmq.PUSH,
        }
        for name, kind in kinds.items():
            self._bind(name, kind)
        self.sockets["heartbeat"].setsockopt(zmq.SUBSCRIBE, b"")
        self.uplinks = Arrivals(self.sockets["uplink"])
        self.registers: list[m.Register] = []
        self.heard: list[m.Message] = []
        self.living: list[tuple[bytes, int]] = []
        self.acks = True
        self.fence_ms = 0
        self.store_port = 0
        self.desires: list[tuple[bytes, int]] | None = None
        self.zap: Any = None
        self.refused = 0

    def _bind(self, name: str, kind: int, port: int = 0) -> None:
        socket = self.context.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self.keys.secret.encode())
        socket.setsockopt(zmq.IMMEDIATE, 1)
        self.ports[name] = socket.bind_to_random_port(f"tcp://{self.address}")
        self.sockets[name] = socket

    @property
    def incarnation(self) -> bytes:
        return self.registers[-1].incarnation

    def write_endpoints(self, home: Home) -> None:
        write_endpoints(
            home.endpoints_file,
            Endpoints(
                "test", self.address, self.ports["control"], self.ports["uplink"],
                self.ports["heartbeat"], self.ports["beacon"], self.keys.public, self.epoch, 1,
            ),
        )  # fmt: skip

    def turn(self) -> None:
        """Hear what there is; let nodes in; acknowledge results."""
        self.refused += refuse_who_knocks(self)
        self.uplinks.count()
        poller = zmq.Poller()
        for name in ("control", "uplink", "heartbeat"):
            poller.register(self.sockets[name], zmq.POLLIN)
        for socket, _ in poller.poll(10):
            if socket is self.sockets["control"]:
                self._welcome(socket.recv_multipart())
                continue
            message = codec.decode(socket.recv()).message
            self.heard.append(message)
            if isinstance(message, m.Heartbeat) and self.desires is not None:
                answer_heartbeat(self, message)
            if isinstance(message, m.Results) and self.acks:
                self.say(m.ResultAck(self.incarnation, message.tasks, message.attempts))

    def _welcome(self, parts: list[bytes]) -> None:
        register = codec.decode(parts[-1]).message
        assert isinstance(register, m.Register)
        self.registers.append(register)
        self.rev += 1
        self.sockets["dispatch"].close()
        self._bind("dispatch", zmq.PUSH)
        reply = m.Registered(
            register.name, self.rev, self.ports["dispatch"], self.ports["uplink"],
            self.ports["heartbeat"], self.ports["beacon"], 200, 30_000,
            [task for task, _ in self.living], [number for _, number in self.living],
            fence_ms=self.fence_ms, store_port=self.store_port,
        )  # fmt: skip
        frame = codec.encode(reply, self.epoch)
        self.sockets["control"].send_multipart([*parts[:-1], frame])

    def say_bytes(self, frame: bytes) -> None:
        """Send on dispatch, waiting for the node to be connected."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                self.sockets["dispatch"].send(frame, zmq.NOBLOCK)
            except zmq.Again:
                assert time.monotonic() < deadline, "the node never connected to dispatch"
                self.turn()
            else:
                return

    def say(self, message: m.Message, epoch: int | None = None) -> None:
        self.say_bytes(codec.encode(message, self.epoch if epoch is None else epoch))

    def offer(self, spec: bytes, *tasks: bytes, number: int = 1, **fields: Any) -> None:
        """Offer tasks of one spec, to a node whose answer has a way: an ACCEPT is said once."""
        self.wait(lambda: self.uplinks.now >= UPLINKS)
        self.rev += 1
        count = len(tasks)
        self.say(
            m.Offer(
                incarnation=fields.get("incarnation", self.incarnation),
                rev=self.rev,
                specs=[spec],
                owners=[fields.get("owner", "ann")],
                spec_index=[0] * count,
                tasks=list(tasks),
                attempts=[number] * count,
                tokens=[b"t" + task for task in tasks],
                args=fields.get("args") or [b""] * count,
                gpus=fields.get("gpus") or [[] for _ in tasks],
                batches=[b""] * count,
                prefetched=[fields.get("prefetched", False)] * count,
                inputs=fields.get("inputs", []),
                spec_inputs=fields.get("spec_inputs", []),
            ),
            fields.get("epoch"),
        )

    def wait(self, what: Callable[[], Any]) -> Any:
        """Turn until something is true, and return it."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            if found := what():
                return found
            self.turn()
        raise AssertionError(f"it did not come about; heard {self.heard[-10:]}")

    def all_of(self, kind: type[M]) -> list[M]:
        return [message for message in self.heard if isinstance(message, kind)]

    def wait_for(self, kind: type[M], task: bytes = b"") -> M:
        """Return the first message of a kind that names a task."""

        def found() -> M | None:
            for message in self.all_of(kind):
                if not task or task in getattr(message, "tasks", [getattr(message, "task", b"")]):
                    return message
            return None

        return self.wait(found)  # type: ignore[no-any-return]  # what `found` returns

    def result(self, task: bytes) -> dict[str, Any]:
        """Wait for a task's result: outcome, value and details in one dict."""
        message = self.wait_for(m.Results, task)
        at = message.tasks.index(task)
        details = codec.unpack_document(message.details[at]) if message.details[at] else {}
        return {
            "outcome": m.Outcome(message.outcomes[at]),
            "value": values.decode(message.values[at]) if message.values[at] else None,
            "token": message.tokens[at],
            **details,
        }

    def fetch(self, task: bytes, stream: str = "out", offset: int = 0) -> m.Output:
        """Ask for output and wait for it."""
        request = secrets.randbelow(1 << 40)
        self.say(m.Fetch(self.incarnation, request, task, 1, stream, offset, 1 << 18))
        return self.wait(  # type: ignore[no-any-return]  # an Output
            lambda: next((out for out in self.all_of(m.Output) if out.request == request), None)
        )

    def close(self) -> None:
        self.context.destroy(linger=0)


def answer_heartbeat(scheduler: FakeScheduler, heartbeat: m.Heartbeat) -> None:
    """Say what may live."""
    scheduler.rev += 1
    keys = scheduler.desires or []
    desired = m.Desired(
        heartbeat.incarnation, scheduler.rev, 30_000, [task for task, _ in keys],
        [number for _, number in keys], answers=heartbeat.seq,
    )  # fmt: skip
    with suppress(zmq.Again):  # not connected any more
        scheduler.sockets["dispatch"].send(codec.encode(desired, scheduler.epoch), zmq.NOBLOCK)


def guard(scheduler: FakeScheduler) -> None:
    """Answer ZAP for connections made from now on: nobody is let in until `zap` is closed."""
    scheduler.zap = scheduler.context.socket(zmq.REP)
    scheduler.zap.setsockopt(zmq.LINGER, 0)
    scheduler.zap.bind("inproc://zeromq.zap.01")


def refuse_who_knocks(scheduler: FakeScheduler) -> int:
    """Refuse those who wait for an answer, and count them."""
    refused = 0
    while scheduler.zap is not None and scheduler.zap.poll(0):
        version, request = scheduler.zap.recv_multipart()[:2]
        scheduler.zap.send_multipart([version, request, b"400", b"unknown key", b"", b""])
        refused += 1
    return refused


class NodeUnderTest:
    """A home with one node's key, and the agent in it; `disk` is its host's when not `folder`."""

    def __init__(
        self,
        folder: Path,
        scheduler: FakeScheduler,
        config: str = "",
        *,
        own_lock_line: str = "",
        disk: Path | None = None,
        wait: bool = True,
        keys: KeyPair | None = None,
    ) -> None:
        self.disk = disk or folder
        self.home = Home(folder / "home")
        self.home.create()
        self.scheduler = scheduler
        self.log = folder / "node.log"
        lock_line = own_lock_line or f'lock_dir = "{folder / "locks"}"'
        self.home.config_file.write_text(
            f'[node]\ncpus = 2\nmemory = "4GiB"\n{lock_line}\nreconnect_min = "50ms"\n{config}'
        )
        identity = Identity(
            "n1", "node", keys or generate(), scheduler.keys.public, "tcp://127.0.0.1:1", "test"
        )
        save_identity(self.home.key_file("node-n1"), identity)
        scheduler.write_endpoints(self.home)
        self.env: dict[str, str] = {}
        self.process: subprocess.Popen[bytes]
        self.start(wait=wait)

    def start(self, *, wait: bool = True) -> None:
        """Start an agent and wait until it is in."""
        seen = len(self.scheduler.registers)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stderr=log,
                cwd="/",
                start_new_session=True,
            )
        if wait:
            self.wait_until_in(seen)

    def command(self) -> list[str]:
        """Return the words that start an agent, with what a test laid over our settings."""
        given = {key: text for key, text in os.environ.items() if key.startswith(GIVEN)}
        python = far().python(NODES[0], {**given, **self.env}, [self.disk])
        options = ["--home", str(self.home.root), "--name", "n1"]
        return [*python, "-P", "-m", "remuda.node", *options]

    def wait_until_in(self, seen: int = 0) -> None:
        """Wait until the agent has registered."""
        self.scheduler.wait(lambda: len(self.scheduler.registers) > seen or self._has_ended())

    def _has_ended(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE_S)

    def signal(self, number: signal.Signals) -> int:
        """Send a signal, keep the scheduler's side turning, and return the exit status."""
        self.process.send_signal(number)
        self.scheduler.wait(lambda: self.process.poll() is not None)
        return self.process.returncode

    @property
    def runners_dir(self) -> Path:
        return self.home.node_dir("n1") / "runners"

    def leave_nothing(self) -> None:
        """Kill the agent and every runner of it."""
        if self.process.poll() is None:
            self.kill()
        mark = str(self.log.parent)  # the state may be elsewhere than in the home
        runners = [
            process
            for process in psutil.process_iter(["cmdline"])
            if any(mark in part for part in process.info["cmdline"] or [])
        ]
        for process in runners:
            for one in [*_children(process), process]:
                _kill(one)


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()


@contextmanager
def ended(under_test: NodeUnderTest) -> Iterator[None]:
    """Leave nothing of an agent and its scheduler; show what it said if that is a bad end."""
    try:
        yield
    except BaseException:
        print(under_test.log.read_text()[-4_000:])
        raise
    finally:
        under_test.leave_nothing()
        under_test.scheduler.close()


@contextmanager
def node(
    folder: Path, config: str = "", *, wait: bool = True
) -> Iterator[tuple[FakeScheduler, NodeUnderTest]]:
    """Run an agent against a fake scheduler; nothing is left at the end."""
    scheduler = FakeScheduler()
    under_test = NodeUnderTest(folder, scheduler, config, wait=wait)
    with ended(under_test):
        yield scheduler, under_test
