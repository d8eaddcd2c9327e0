"""A scheduler of one thread that does what a test tells it, on a real CURVE socket."""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from remuda.config.cluster import ClusterRef
from remuda.config.home import Home
from remuda.config.keys import Identity, KeyPair, generate, save_identity
from remuda.protocol import codec, ids
from remuda.protocol import messages as m
from remuda.scheduler.records import Change
from remuda.scheduler.task import State
from remuda.scheduler.watch import Waiting, Watches, to_changes, wait_until
from remuda.worker import values

POLL_MS = 20
DEADLINE_S = 20.0


class ToyScheduler:
    """Stores what is submitted; `end` ends tasks; `on` replaces the answer to a message type.

    A replaced answer may be None: then the request is swallowed. Restarting keeps the tasks.
    """

    def __init__(self, folder: Path, *, admits: bool = True) -> None:
        self.keys = generate()
        self.admits = admits
        self.port = 0
        self.epoch = 0
        self.heard: list[m.Message] = []
        self.on: dict[type[m.Message], Callable[[m.Message], m.Message | None]] = {}
        self.tasks: dict[int, Change] = {}
        self.autoend: Callable[[int, bytes], Change] | None = None
        self._submissions: dict[bytes, m.Submitted] = {}
        self._batches: dict[bytes, int] = {}
        self._numbers = itertools.count(1)
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.folder = folder
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._handles: dict[int, list[bytes]] = {}
        self.start()

    # --- what tests do ---------------------------------------------------------------------------

    def start(self) -> None:
        self.epoch += 1
        self._stop.clear()
        bound = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(bound,), daemon=True)
        self._thread.start()
        assert bound.wait(10)

    def stop(self) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join()

    def end(
        self, key: bytes, state: State = State.SUCCEEDED, *, code: str = "", value: bytes = b"",
        details: bytes = b"",
    ) -> None:  # fmt: skip
        """Move a task, in the scheduler's thread."""
        task = ids.from_bytes(key)

        def move() -> None:
            session = self.tasks[task].session
            change = Change(session, task, state, code, 1, "node-1", value, details)
            self.tasks[task] = change
            self._watches.add([change])

        self._work.put(move)

    def end_before_the_reply(self, message: m.Message) -> m.Message:
        """Answer a Submit after its tasks have ended and whoever watches has heard of it."""
        assert isinstance(message, m.Submit)
        known = set(self.tasks)
        answer = self._submit(message)
        for number in set(self.tasks) - known:
            self.tasks[number] = self.tasks[number]._replace(
                state=State.SUCCEEDED, value=values.encode(7)
            )
            self._watches.add([self.tasks[number]])
        for due in self._watches.due(time.monotonic_ns()):
            self._reply(self._handles.pop(due.handle), due.message)
        return answer

    def wait_watched(self) -> None:
        """Wait until a long poll is outstanding."""
        deadline = time.monotonic() + DEADLINE_S
        while not self._handles:
            assert time.monotonic() < deadline, "nobody watches"
            time.sleep(0.005)

    def heard_of(self, kind: type[m.Message]) -> list[m.Message]:
        return [message for message in list(self.heard) if type(message) is kind]

    # --- the thread ------------------------------------------------------------------------------

    def _run(self, bound: threading.Event) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        zap = context.socket(zmq.REP)
        zap.bind("inproc://zeromq.zap.01")
        self._control = control = context.socket(zmq.ROUTER)
        control.curve_server = True
        control.curve_secretkey = self.keys.secret.encode()
        control.zap_domain = b"toy"
        control.bind(f"tcp://127.0.0.1:{self.port or '*'}")
        self.port = int(control.last_endpoint.rpartition(b":")[2])
        self._watches = Watches(self.epoch, changes_max=1_000)
        self._handles: dict[int, list[bytes]] = {}
        poller = zmq.Poller()
        poller.register(control)
        poller.register(zap)
        bound.set()
        try:
            while not self._stop.is_set():
                ready = dict(poller.poll(POLL_MS))
                if zap in ready:
                    answer_zap(zap, admits=self.admits)
                if control in ready:
                    with contextlib.suppress(zmq.Again):  # the peer may be gone by now
                        self._on_frame(control.recv_multipart(zmq.DONTWAIT))
                while not self._work.empty():
                    self._work.get()()
                for answer in self._watches.due(time.monotonic_ns()):
                    self._reply(self._handles.pop(answer.handle), answer.message)
        finally:  # what a test made it fail at must not leave sockets, whose warning fails others
            context.destroy(linger=0)

    def _on_frame(self, frames: list[bytes]) -> None:
        envelope, message = frames[:-1], codec.decode(frames[-1]).message
        self.heard.append(message)
        if type(message) in self.on:
            answer = self.on[type(message)](message)
        elif type(message) is m.Watch:
            answer = self._watch(envelope, message)
        else:
            answer = self._answer(message)
        if answer is not None:
            self._reply(envelope, answer)

    def _reply(self, envelope: list[bytes], answer: m.Message) -> None:
        self._control.send_multipart([*envelope, codec.encode(answer, self.epoch)])

    def _watch(self, envelope: list[bytes], message: m.Watch) -> None:
        now_ns = time.monotonic_ns()
        handle = next(self._numbers)
        self._handles[handle] = envelope
        self._watches.open(message.session, "tester", now_ns)
        waiting = Waiting(handle, wait_until(now_ns, message.wait_ms))
        for answer in self._watches.ask(
            message.session, message.epoch, message.seq, waiting, now_ns
        ):
            self._reply(self._handles.pop(answer.handle), answer.message)

    def _answer(self, message: m.Message) -> m.Message:
        if isinstance(message, m.Submit):
            return self._submit(message)
        if isinstance(message, m.States):
            return self._states(message)
        if isinstance(message, m.Cancel):
            return self._cancel(message)
        if isinstance(message, m.ShowBatch):
            batch = ids.from_bytes(message.batch)
            return m.Document({"total": sum(batch < task < batch + 2**32 for task in self.tasks)})
        if isinstance(message, m.Status):
            return m.Document({"cluster": "toy"})
        return m.Failure("invalid", f"a toy knows no {type(message).__name__}")

    def _submit(self, message: m.Submit) -> m.Submitted:
        known = self._submissions.get(message.submit_key)
        if known is not None:
            return known
        self._watches.open(message.session, "tester", time.monotonic_ns())
        count = len(message.args)
        batch = 0
        if message.batch_key:
            batch = self._batches.setdefault(message.batch_key, next(self._numbers) << 64)
            numbers = [ids.member(batch, message.offset + index) for index in range(count)]
        else:
            numbers = [next(self._numbers) << 64 for _ in range(count)]
        for number in numbers:
            self.tasks[number] = Change(message.session, number, State.QUEUED, "", 0, "", b"", b"")
        answer = m.Submitted(
            tasks=[] if batch else [ids.to_bytes(number) for number in numbers],
            batch=ids.to_bytes(batch) if batch else b"",
            offset=message.offset,
            count=count,
            first_number=1,
        )
        self._submissions[message.submit_key] = answer
        if self.autoend is not None:
            for number, args in zip(numbers, message.args, strict=True):
                self.tasks[number] = self.autoend(number, args)._replace(session=message.session)
            self._watches.add([self.tasks[number] for number in numbers])
        return answer

    def _states(self, message: m.States) -> m.Changes:
        if message.session:
            self._watches.open(message.session, "tester", time.monotonic_ns())
            self._watches.follow(message.session, map(ids.from_bytes, message.tasks))
        seq = self._watches.position(message.session)
        found = [self.tasks.get(ids.from_bytes(key)) for key in message.tasks]
        answer = to_changes([f for f in found if f], epoch=self.epoch, seq=seq)
        for key, change in zip(message.tasks, found, strict=True):
            if change is None:
                answer.tasks.append(key)
                answer.states.append("not_found")
                for column in (answer.codes, answer.nodes):
                    column.append("")
                answer.attempts.append(0)
                answer.values.append(b"")
                answer.details.append(b"")
        return answer

    def _cancel(self, message: m.Cancel) -> m.Cancelled:
        numbers = [ids.from_bytes(key) for key in message.tasks]
        for batch in map(ids.from_bytes, message.batches):
            numbers += [number for number in self.tasks if batch < number < batch + 2**32]
        verdicts = []
        for number in numbers:
            if self.tasks[number].state >= State.SUCCEEDED:
                verdicts.append("ended")
                continue
            verdicts.append("cancelled")
            self.tasks[number] = self.tasks[number]._replace(
                state=State.CANCELLED, code="cancelled"
            )
            self._watches.add([self.tasks[number]])
        return m.Cancelled([ids.to_bytes(number) for number in numbers], verdicts)


def answer_zap(zap: zmq.Socket[bytes], *, admits: bool) -> None:
    request = zap.recv_multipart()
    status = b"200" if admits else b"400"
    zap.send_multipart([b"1.0", request[1], status, b"", b"tester", b""])


def home_of(toy: ToyScheduler) -> Path:
    """Write the home of somebody whose cluster is the toy."""
    home = Home(toy.folder / "home")
    home.create()
    _write_identity(toy, home.key_file("client"), toy.keys.public)
    return home.root


@contextlib.contextmanager
def toy_of_commands(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ToyScheduler]:
    """Let commands speak to a toy, whatever cluster is named outside of the tests."""
    toy = ToyScheduler(folder)
    for name in ("REMUDA_CLUSTER", "REMUDA_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REMUDA_HOME", str(home_of(toy)))
    try:
        yield toy
    finally:
        toy.stop()


def ref_of(toy: ToyScheduler, *, server: str = "") -> ClusterRef:
    """Write an identity for a client; `server` replaces the scheduler's key in it."""
    path = toy.folder / "client.key"
    _write_identity(toy, path, server or toy.keys.public)
    return ClusterRef(None, path, "", "test")


def _write_identity(toy: ToyScheduler, path: Path, server_public: str) -> None:
    endpoint = f"tcp://127.0.0.1:{toy.port}"
    pair: KeyPair = generate()
    save_identity(path, Identity("tester", "submit", pair, server_public, endpoint, "toy"))
