"""What the runner does with each frame of its agent: every order once, every order answered."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from pathlib import Path

from ...worker import batches, frames
from ...worker.frames import (
    Ack,
    Cancel,
    EndWorker,
    Exit,
    Finished,
    FrameError,
    Hello,
    HoldLocks,
    Host,
    Message,
    Refused,
    Run,
    Status,
    WorkerEnded,
)
from .answers import FINISHED_MAX, UNACKED_MAX
from .asks import Asks
from .command import Command
from .limits import Limits
from .outbox import Outbox
from .poller import Poller
from .slot import LOCKS_MAX, Slot
from .warm import Warm


class Orders:
    """Turns frames into acts on the slot; `stopping` is set once the runner is to exit."""

    def __init__(
        self, directory: Path, poller: Poller, slot: Slot, outbox: Outbox, own_cgroup: str
    ) -> None:
        self.stopping = False
        self._directory = directory
        self._poller = poller
        self._slot = slot
        self._outbox = outbox
        self._cgroup = own_cgroup
        self._asks = Asks(slot, outbox)
        self.limits = Limits(slot, outbox)
        self._handlers: dict[type, Callable[[Message], None]] = {
            Run: self._on_run,
            Host: self._on_host,
            Cancel: self._on_cancel,
            Ack: self._on_ack,
            EndWorker: self._on_end_worker,
            Status: self._on_status,
            Exit: self._on_exit,
            **self._asks.handlers,
            **self.limits.handlers,
        }

    def on_frame(self, kind: int, body: bytes, fds: list[int]) -> None:
        """Act on one frame; raise FrameError for one that is not an agent's."""
        if kind == frames.CALLS:
            self._on_calls(body)
            return
        message = frames.decode(kind, body)
        if isinstance(message, HoldLocks):
            self._on_hold_locks(message, fds)
            return
        handler = self._handlers.get(type(message))
        if handler is None:
            raise FrameError(f"{type(message).__name__} is not for a runner")
        try:
            handler(message)
        except (TypeError, ValueError, OverflowError) as error:
            # A field of the wrong type: the frame is at fault.
            raise FrameError(f"malformed {type(message).__name__}: {error}") from error

    def hello(self) -> Hello:
        """Describe the runner in one snapshot."""
        occupant, worker = self._slot.occupant, self._slot.worker
        held: list[list[object]] = []
        for key, started in occupant.held() if occupant is not None else []:
            task, attempt = frames.split_key(key)
            held.append([task.hex(), attempt, started])
        return Hello(
            protocol=frames.PROTOCOL_OLDEST,
            newest=frames.PROTOCOL,
            runner=self._directory.name,
            pid=os.getpid(),
            boot_id=boot_id(),
            occupant=occupant.kind if occupant else "",
            worker=worker.order.worker if worker else "",
            loaded=bool(worker and worker.loaded),
            held=held,
            unacked=self._outbox.answers.unacked(),
            locks=list(self._slot.locks),
            cgroup=self._cgroup,
        )

    def _on_run(self, message: Message) -> None:
        assert isinstance(message, Run)
        key = frames.join_key(message.task, message.attempt)
        current = self._slot.command
        if current is not None and current.key == key:
            return
        answers = self._outbox.answers
        if key in answers.finished:
            self._outbox.say(answers.finished[key])
            return
        refusal = None
        if answers.answered(key):
            refusal = "known", "this attempt was answered and acknowledged"
        elif self.stopping:
            refusal = "stopping", "the runner is exiting"
        elif self._slot.occupant is not None:
            refusal = "busy", f"a {self._slot.occupant.kind} is running"
        elif len(answers.finished) >= FINISHED_MAX:
            refusal = "full", f"{FINISHED_MAX} results wait for an acknowledgement"
        elif not (message.argv and _texts(message.argv) and _are_environments(message)):
            refusal = "malformed", "argv or env is empty or not of texts"
        if refusal is not None:
            self._outbox.say(Refused(*refusal, task=message.task, attempt=message.attempt))
            return
        say, finished, keeper = self._outbox.say, self._on_finished, None
        if message.user:
            keeper = self._slot.keepers.have(message.helper, message.user, self._directory.name)
        else:
            self._slot.keepers.part()
        command = Command(message, self._directory, self._poller, say, finished, keeper)
        self._slot.take(command)

    def _on_host(self, message: Message) -> None:
        assert isinstance(message, Host)
        worker = self._slot.worker
        if worker is not None and worker.order.worker == message.worker:
            if worker.loaded is not None:
                self._outbox.say(worker.loaded)
            return
        refusal = None
        if self._slot.occupant is not None or self.stopping:
            refusal = Refused("busy", "the runner is taken or exiting")
        elif not (_texts([message.python, *message.sys_path]) and _are_environments(message)):
            refusal = Refused("malformed", "python, sys_path or env is not of texts")
        if refusal is not None:
            self._outbox.say(refusal)
            return
        self._slot.keepers.part()
        say, answer, ended = self._outbox.say, self._asks.on_results, self._on_worker_ended
        self._slot.take(Warm(message, self._directory, self._poller, say, answer, ended))

    def _on_calls(self, body: bytes) -> None:
        seq, heads = batches.calls_heads(body)
        limits = self.limits.take()
        worker = self._slot.worker
        if worker is None:
            self._outbox.say(Refused("no_worker", "no worker is hosted here", seq=seq))
            return
        if len(self._outbox.answers) > UNACKED_MAX:
            text = f"{UNACKED_MAX} results wait for an acknowledgement"
            self._outbox.say(Refused("full", text, seq=seq))
            return
        keys = [key for key, _ in heads]
        answered = self._outbox.answers.answered
        if len(set(keys)) < len(keys) or any(key in worker.calls or answered(key) for key in keys):
            body, heads = self._new_calls(body, worker)
        refusal = worker.forward(body, heads, seq, limits) if heads else None
        if refusal is not None:
            self._outbox.say(refusal)

    def _new_calls(self, body: bytes, worker: Warm) -> tuple[bytes, list[tuple[bytes, int]]]:
        """Cut known attempts out of a batch, repeating the answers that wait."""
        batch = batches.unpack_calls(body)
        fresh: dict[bytes, batches.Call] = {}
        for call in batch.calls:
            key = frames.join_key(call.task, call.attempt)
            record = self._outbox.answers.record_of(key)
            if record is not None:
                self._outbox.repeat(record)
            elif key not in worker.calls and not self._outbox.answers.answered(key):
                fresh[key] = call
        heads = [(key, call.timeout_ms) for key, call in fresh.items()]
        return batches.pack_calls(batches.Calls(batch.seq, list(fresh.values()))), heads

    def _on_cancel(self, message: Message) -> None:
        assert isinstance(message, Cancel)
        key = frames.join_key(message.task, message.attempt)
        command, worker = self._slot.command, self._slot.worker
        grace_s = math.inf if message.only_if_waiting else message.grace_s
        if command is not None and command.key == key:
            if not message.only_if_waiting:
                command.stop("cancelled", grace_s)
        elif worker is not None and worker.cancel(key, grace_s):
            return
        elif not self._outbox.answers.answered(key):
            text = "this attempt is not here"
            refused = Refused("unknown", text, task=message.task, attempt=message.attempt)
            self._outbox.say(refused)

    def _on_ack(self, message: Message) -> None:
        assert isinstance(message, Ack)
        self._outbox.answers.ack(message)
        self._slot.idle_since = time.monotonic()

    def _on_end_worker(self, message: Message) -> None:
        assert isinstance(message, EndWorker)
        if self._slot.worker is not None:
            self._slot.worker.stop("ended", message.grace_s, message.code)

    def _on_status(self, message: Message) -> None:
        assert isinstance(message, Status)
        self._outbox.say(self.hello(), list(self._slot.locks.values()))

    def _on_exit(self, message: Message) -> None:
        assert isinstance(message, Exit)
        occupant = self._slot.occupant
        if message.if_idle and (occupant is not None or not self._outbox.answers.empty()):
            return
        self.stopping = True
        self._slot.idle_since = time.monotonic()
        if isinstance(occupant, Warm):
            occupant.stop("stopped", message.grace_s, "worker_ended")
        elif occupant is not None:
            occupant.stop("stopped", message.grace_s)

    def _on_hold_locks(self, message: HoldLocks, fds: list[int]) -> None:
        names = message.names
        if len(fds) < len(names) or len(self._slot.locks) + len(names) > LOCKS_MAX:
            raise FrameError(f"{len(names)} locks named, {len(fds)} descriptors came")
        for name in names:
            self._slot.keep_lock(name, fds.pop(0))

    def _on_finished(self, message: Finished) -> None:
        self._slot.vacate()
        self._outbox.finish(message)

    def _on_worker_ended(self, message: WorkerEnded) -> None:
        self._slot.vacate()
        self._outbox.say(message)


def _texts(words: object) -> bool:
    return isinstance(words, list) and all(isinstance(word, str) for word in words)


def _are_environments(message: Run | Host) -> bool:
    return _environment(message.env) and _environment(message.secrets)


def _environment(env: object) -> bool:
    return isinstance(env, dict) and _texts([*env, *env.values()])


def boot_id() -> str:
    """Return the kernel's name for this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
