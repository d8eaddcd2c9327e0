"""The worker's loop: read calls from descriptor 3, run them in order, write their outcomes."""

from __future__ import annotations

import faulthandler
import os
import pathlib
import signal
import socket
import sys
import time
import types
from collections.abc import Sequence
from typing import Any, NoReturn

from . import batches, frames
from .batches import Call, Failure, Outcome
from .capture import Capture, text_over
from .current import set_running
from .frames import Host, Loaded, WorkerEnded
from .freshness import Freshness
from .gathering import Gathering, Numbered
from .member_dirs import MemberDirs
from .page import CALLS_WINDOW, Page
from .speaker import Speaker
from .state import RunningCall
from .targets import Targets, describe
from .task_dir import NotReturned, TaskDir
from .together import Together, asyncio_run, signature_of
from .values import NotDecodable, NotEncodable, ValueTooLarge, decode_call, pack

SOCKET_FD = 3
PAGE_FD = 4
STACK_FD = 5
RECV_BYTES = 256 << 10
REPR_CHARS_MAX = 200
STALE_EXIT = 0
LOAD_CODES = frozenset({"code_missing", "out_of_memory", "gpu_out_of_memory", "disk_full"})
"""What a `load()` that failed may say of itself; anything else makes the model unavailable."""
_CANCELLED = batches.pack_failure(Failure("cancelled", "", "cancelled before it started"))
_WINDOW_MASK = CALLS_WINDOW - 1


def main(output_dir: str) -> None:
    """Serve one runner until it closes the socket."""
    for fd in (SOCKET_FD, PAGE_FD, STACK_FD):
        os.set_inheritable(fd, False)  # noqa: FBT003 - positional only
    sock = socket.socket(fileno=SOCKET_FD)
    reader = _Reader(sock)
    kind, body = reader.next()
    host = frames.decode(kind, body)
    assert isinstance(host, Host)
    page = Page(PAGE_FD)
    running = RunningCall(output_dir, page)
    out = Capture("out", 1, host.output_bytes_max, running.folder)
    err = Capture("err", 2, host.output_bytes_max, running.folder)
    speaker = Speaker(sock, running, out, err)
    set_running(running)
    sys.stdout, sys.stderr = text_over(out), text_over(err)
    # A crash shows its stack in the log; the runner asks for one before it ends a stuck call.
    faulthandler.enable(file=2)
    faulthandler.register(signal.SIGUSR2, file=STACK_FD, all_threads=True)
    sys.path[:0] = host.sys_path
    own_dir = pathlib.Path(output_dir).with_name("work")
    task_dir = TaskDir(host.tasks_dir, own_dir, moves=not host.cwd)
    worker = Worker(host, page, running, speaker, out, err, task_dir)
    worker.load()
    if host.max_batch > 1:
        size, wait_s = host.max_batch, host.max_wait_s
        worker.serve(Gathering(page, reader.next, reader.has_more, SOCKET_FD, size, wait_s))
    while True:
        kind, body = reader.next()
        if kind == frames.CALLS:
            worker.run_batch(batches.unpack_calls(body))


class Worker:
    """Runs calls, one after the other."""

    def __init__(
        self,
        host: Host,
        page: Page,
        running: RunningCall,
        speaker: Speaker,
        out: Capture,
        err: Capture,
        task_dir: TaskDir,
    ) -> None:
        self._host = host
        self._page = page
        self._running = running
        self._speaker = speaker
        self._out = out
        self._err = err
        self._task_dir = task_dir
        self._number = 0
        self._targets = Targets(host.main_name, host.main_source, host.main_sha256)
        self._handler: Any = None
        self._freshness = Freshness(host.sys_path)

    def load(self) -> None:
        """Load the handler, if this worker has one, and say that it is ready, or why not."""
        begun_ns = time.monotonic_ns()
        if self._host.handler is not None:
            try:
                self._handler = self._targets.find(self._host.handler)(**self._host.options)
                if self._host.max_batch > 1:
                    signature_of(self._handler)
                _load(self._handler)
            except BaseException as error:  # noqa: BLE001 - whatever the user's code raises
                failure = describe(error)
                if failure.code not in LOAD_CODES:
                    failure = failure._replace(code="model_unavailable")
                ended = WorkerEnded(
                    self._host.worker, "load_failed", None, failure=failure._asdict()
                )
                self._speaker.send(frames.encode(ended))
                os._exit(1)
        self._freshness.note()
        load_ns = time.monotonic_ns() - begun_ns
        self._speaker.send(frames.encode(Loaded(self._host.worker, os.getpid(), load_ns)))

    def run_batch(self, batch: batches.Calls) -> None:
        """Run the calls of one batch in order; outcomes leave at the end, or after 5 ms.

        With project code that changed since it was loaded the worker ends instead: nothing of the
        batch has begun, so all of it comes back and runs in a new worker.
        """
        if self._freshness.is_stale():
            os._exit(STALE_EXIT)
        self._task_dir.look()
        speaker = self._speaker
        speaker.begin()
        for call in batch.calls:
            outcome = self._run(call)
            self._freshness.note()  # before anybody hears of it, and edits what it imported
            speaker.add(outcome)
        speaker.end()

    def serve(self, gathering: Gathering) -> NoReturn:
        """Run what waits as batches, for ever."""
        dirs = MemberDirs(self._host.tasks_dir)
        together = Together(
            self._handler, self._page, self._running, self._out, self._err, self._task_dir, dirs,
            self._returned, self._tell_formed,
        )  # fmt: skip
        while True:
            batch = gathering.next()
            if self._freshness.is_stale():
                os._exit(STALE_EXIT)
            self._task_dir.look()
            self._speaker.begin()
            outcomes = together.run(batch)
            gathering.learn(len(batch), together.fitted)
            dirs.end_batch()
            self._task_dir.leave()
            self._freshness.note()
            for outcome in outcomes:
                self._speaker.add(outcome)
            self._speaker.end()

    def _tell_formed(self, batch: Sequence[Numbered]) -> None:
        rows: list[list[object]] = [[each.call.task.hex(), each.call.attempt] for each in batch]
        self._speaker.send(frames.encode(frames.Formed(rows)))

    def _run(self, call: Call) -> Outcome:
        self._number = number = self._number + 1
        begun_ns = time.monotonic_ns()
        self._page.begin(number, begun_ns)
        if self._page.marks[number & _WINDOW_MASK]:
            return Outcome(call.task, call.attempt, batches.RETURNED, _CANCELLED)
        running, out, err = self._running, self._out, self._err
        running.begin(call.task, call.attempt, number)
        out.active = err.active = True
        status, body = self._attempt(call)
        out_bytes, err_bytes = out.end(), err.end()
        running.end()
        run_ns = time.monotonic_ns() - begun_ns
        return Outcome(call.task, call.attempt, status, body, run_ns, out_bytes, err_bytes)

    def _attempt(self, call: Call) -> tuple[int, bytes]:
        """Return status and body of the call's outcome."""
        try:
            self._task_dir.enter(call.task, call.attempt)
            return self._call(call)
        finally:
            self._task_dir.leave()

    def _call(self, call: Call) -> tuple[int, bytes]:
        try:
            function = self._handler
            if call.target or function is None:
                function = self._targets.find(call.target)
            args, kwargs = decode_call(call.args, self._task_dir)
        except NotDecodable as error:
            return _failed(error, error.code)
        except BaseException as error:  # noqa: BLE001 - importing runs the user's code
            return _failed(error)
        try:
            value = function(*args, **kwargs)
            if type(value) is types.CoroutineType:
                value = asyncio_run(value)
        except BaseException as error:  # noqa: BLE001 - SystemExit must not end the worker
            return _failed(error)
        return self._returned(value)

    def _returned(self, value: object) -> tuple[int, bytes]:
        """Encode what a call returned; what is not in the outcome is left for the agent."""
        try:
            parcel = pack(value, self._task_dir.take)
            is_stored = self._task_dir.keep(parcel)
        except NotEncodable as error:
            text = f"the result cannot travel: {error}"
            if not isinstance(error, ValueTooLarge):
                text += f"; it was {_short_repr(value)}"
            return batches.FAILED, batches.pack_failure(Failure(error.code, "", text))
        except NotReturned as error:
            return batches.FAILED, batches.pack_failure(Failure(error.code, "", str(error)))
        except OSError as error:  # a full disk, a file that cannot be read
            return _failed(error)
        return batches.STORED if is_stored else batches.OK, parcel.body


def _failed(error: BaseException, code: str = "") -> tuple[int, bytes]:
    return batches.FAILED, batches.pack_failure(describe(error, code))


def _short_repr(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - the user's own __repr__
        return f"a {type(value).__qualname__}"
    return text if len(text) <= REPR_CHARS_MAX else text[:REPR_CHARS_MAX] + "..."


class _Reader:
    """Frames from the runner, blocking; the end of the stream is the end of the worker."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._parser = frames.Parser()
        self._ready: list[tuple[int, bytes]] = []

    def has_more(self) -> bool:
        """Say whether a frame is here that was read with another."""
        return bool(self._ready)

    def next(self) -> tuple[int, bytes]:
        """Return the next frame."""
        while not self._ready:
            try:
                data = self._sock.recv(RECV_BYTES)
            except OSError:  # the runner was killed with our results unread
                data = b""
            if not data:
                os._exit(0)
            self._ready = self._parser.feed(data)
        return self._ready.pop(0)


def _load(handler: Any) -> None:
    """Load a handler: with the name of its model, where it takes one."""
    load = getattr(handler, "load", None)
    if load is None:
        return
    import inspect

    takes = [each for each in inspect.signature(load).parameters.values() if each.kind <= 1]
    model = os.environ.get(frames.MODEL_VARIABLE, "")
    if takes and not model and takes[0].default is takes[0].empty:
        raise TypeError(
            "load() takes a model, but its worker is to load all that its handler lists: set "
            'load = "first_use" there, or list one model'
        )
    load(*([model] if takes and model else []))
