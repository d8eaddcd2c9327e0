"""What an agent may ask about work that runs, and what runner and agent tell each other of limits.

All of these came with protocol 2: `frames.SINCE` says so, and whoever speaks an older one is not
sent them. Answers are said once, to the agent that is attached then; whoever asked counts the time.
"""

from __future__ import annotations

from typing import NamedTuple

EXEC_TIMEOUT_S = 10.0
EXEC_OUTPUT_BYTES_MAX = 64 << 10
"""What is kept of each stream of an Exec; the rest is counted and dropped."""


class Attach(NamedTuple):
    """Agent -> runner: what the attached agent speaks, and the limits that it sets for runners.

    Sent once after Hello. Until then the runner takes the agent for one of protocol 1.
    `unkillable_after_s` 0: never report what does not die.
    """

    protocol: int
    unkillable_after_s: float = 0.0


class CallLimits(NamedTuple):
    """Agent -> runner: limits of calls in the next Calls frame, for those that have any.

    Rows are [task as hex, attempt, silence_ms, fence_boot_ns], 0 for none.
    """

    rows: list[list[object]]


class Renew(NamedTuple):
    """Agent -> runner: the scheduler was heard. What has a fence may run until this time.

    Nanoseconds of CLOCK_BOOTTIME, which both sides share and which counts while the host sleeps:
    a frame that is read late prolongs nothing.
    """

    fence_boot_ns: int


class Signal(NamedTuple):
    """Agent -> runner: signal what runs. Answered.

    A command's process group gets it, as from a terminal; those that stop and continue go to its
    whole tree. Of a call the worker process gets it, only while the call runs.
    """

    request: int
    task: bytes
    attempt: int
    number: int


class Stack(NamedTuple):
    """Agent -> runner: take the Python stack of a running call. Answered, in `out`."""

    request: int
    task: bytes
    attempt: int


class Exec(NamedTuple):
    """Agent -> runner: run a command beside what runs, in its environment and directory. Answered.

    `cwd` None: where the task was started. It ends with the task's tree, at the latest.
    """

    request: int
    task: bytes
    attempt: int
    argv: list[str]
    cwd: str | None = None
    timeout_s: float = EXEC_TIMEOUT_S


class Answer(NamedTuple):
    """Runner -> agent: what came of a Signal, Stack or Exec.

    `code` is "" when it was done, else not_running, not_allowed, no_stack, not_python, busy,
    not_started, timeout, ended or malformed. `returncode` is an Exec's own (-N for signal N);
    `out_bytes` and `err_bytes` count what it printed, of which the beginning is here.
    """

    request: int
    code: str = ""
    message: str = ""
    returncode: int | None = None
    out: bytes = b""
    err: bytes = b""
    out_bytes: int = 0
    err_bytes: int = 0


class Stuck(NamedTuple):
    """Runner -> agent: processes outlived KILL for `unkillable_after_s`; repeated at each attach.

    `rows` are [pid, state as /proc shows it, name]. `task` is empty for a worker without a call.
    """

    task: bytes
    attempt: int
    worker: str
    since_s: float
    rows: list[list[object]]
