"""How does one reach into a task that runs: its stack, a signal, a command beside it?"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..protocol.errors import Invalid, RemudaError, from_wire
from ..protocol.messages import AskTask, TaskAnswer
from .received import Far, Files

if TYPE_CHECKING:
    from .bridge import Threads
    from .connection import Connection
    from .task import Task

EXEC_TIMEOUT_S = 10.0
KEY_BYTES = 16
ANSWER_WAIT_S = 20.0
"""Beyond what the command of an `exec` may take: the scheduler gives up after half of it."""
KILLED = ("timeout", "ended")


@dataclass(frozen=True, slots=True)
class ExecResult:
    """A command that ran beside a task: like `subprocess.CompletedProcess`.

    `returncode` is -N for signal N. `code` is "" when it ended by itself, `timeout` or `ended`
    (the task ended) when it was killed, and `message` says so. `stdout` and `stderr` are the first
    64 KiB of what it printed; `stdout_bytes` and `stderr_bytes` count all of it.
    """

    returncode: int
    stdout: str
    stderr: str
    stdout_bytes: int
    stderr_bytes: int
    code: str = ""
    message: str = ""

    @property
    def output(self) -> str:
        """Return what it printed: stdout, then stderr."""
        return self.stdout + self.stderr


def stack(link: Connection, task: bytes) -> TaskAnswer:
    """Take the Python stack of a function or handler that runs; it is `body["stack"]`."""
    return _done(_ask(link, task, "stack", {}))


def send_signal(link: Connection, task: bytes, wanted: str | int) -> TaskAnswer:
    """Send a signal to what runs, by name (USR1 or SIGUSR1) or number."""
    return _done(_ask(link, task, "signal", {"signal": signal_name(wanted)}))


def run_beside(
    link: Connection, task: bytes, argv: Sequence[str], timeout_s: float = EXEC_TIMEOUT_S
) -> TaskAnswer:
    """Run a command beside a task; what it printed is in the body, also if it was killed."""
    body = {"argv": [os.fspath(word) for word in argv], "timeout_ms": round(timeout_s * 1000)}
    answer = _ask(link, task, "exec", body, timeout_s)
    was_killed = answer.code in KILLED and answer.body.get("returncode") is not None
    return answer if was_killed else _done(answer)


def exec_result(answer: TaskAnswer) -> ExecResult:
    """Read what came of a command beside a task."""
    body = answer.body
    return ExecResult(
        int(body["returncode"]),
        bytes(body["out"]).decode("utf-8", "replace"),
        bytes(body["err"]).decode("utf-8", "replace"),
        int(body["out_bytes"]),
        int(body["err_bytes"]),
        answer.code,
        answer.message,
    )


def signal_name(wanted: str | int) -> str:
    """Name a signal as the wire does, without SIG; raises Invalid."""
    if isinstance(wanted, int):
        try:
            return signal.Signals(wanted).name.removeprefix("SIG")
        except ValueError as error:
            raise Invalid(f"signal: {wanted} is no signal", field="signal") from error
    return wanted.upper().removeprefix("SIG")


class Reachable:
    """The verbs of a task that reach into it while it runs, and for its files when it has ended."""

    if TYPE_CHECKING:
        key: bytes

        @property
        def connection(self) -> Connection: ...

    @cached_property
    def _far(self) -> Far:
        return Far(self.connection, self.key)

    @property
    def files(self) -> Files:
        """Return the files that came home, by name: returned ones, and those of `outputs`.

        They are fetched when they are read or saved.
        """
        return Files(self._far.outputs())

    def stack(self) -> str:
        """Return the Python stack of a function or handler as it runs now."""
        return str(stack(self.connection, self.key).body["stack"])

    def signal(self, wanted: str | int) -> None:
        """Send a signal, by name (`"USR1"`) or number; `cancel` is what kills."""
        send_signal(self.connection, self.key, wanted)

    def exec(self, argv: Sequence[str], *, timeout: float = EXEC_TIMEOUT_S) -> ExecResult:
        """Run a command beside the task, in its environment and directory, with its devices.

        It is killed after `timeout` seconds (at most 600), and with the task. It gets no input.
        """
        return exec_result(run_beside(self.connection, self.key, argv, timeout))


class AsyncReachable:
    """The same verbs, to await."""

    if TYPE_CHECKING:
        _threads: Threads
        sync: Task

    async def stack(self) -> str:
        """Return the Python stack of a function or handler as it runs now."""
        return await self._threads.call(self.sync.stack)

    async def signal(self, wanted: str | int) -> None:
        """Send a signal, by name (`"USR1"`) or number; `cancel` is what kills."""
        await self._threads.call(self.sync.signal, wanted)

    async def exec(self, argv: Sequence[str], *, timeout: float = EXEC_TIMEOUT_S) -> ExecResult:
        """Run a command beside the task, as `Task.exec` does."""
        return await self._threads.call(self.sync.exec, argv, timeout=timeout)

    async def files(self) -> Files:
        """Return the files that came home, by name; reading one blocks: give it a thread."""
        return await self._threads.call(lambda: self.sync.files)


def _ask(
    link: Connection, task: bytes, verb: str, body: dict[str, Any], extra_s: float = 0.0
) -> TaskAnswer:
    """Ask, and ask the same again while the scheduler says that the node is on its way back."""
    message = AskTask(os.urandom(KEY_BYTES), task, verb, body)
    ends_at = time.monotonic() + ANSWER_WAIT_S + extra_s
    while True:
        try:
            patience_s = max(ends_at - time.monotonic(), 1.0)
            return link.request(message, TaskAnswer, timeout_s=patience_s)
        except RemudaError as error:
            if error.code != "node_silent" or not error.retry_after_s:
                raise
            if time.monotonic() + error.retry_after_s > ends_at:
                raise
            time.sleep(error.retry_after_s)


def _done(answer: TaskAnswer) -> TaskAnswer:
    if answer.code:
        raise from_wire(answer.code, answer.message)
    return answer
