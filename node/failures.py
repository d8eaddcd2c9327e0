"""Of which kind is the failure of a command: what the kernel and its standard error show?

Asked only of tries that failed. Evidence is named in the message, so that people can judge it.
"""

from __future__ import annotations

import signal
from typing import NamedTuple

from ..worker import failures
from ..worker.frames import Finished

STDERR_BYTES_MAX = 64 << 10
SHELL_SIGNAL = 128
"""A shell exits with this and the number when its last command was killed by a signal."""


class Verdict(NamedTuple):
    """A code instead of `exit_code`, and what shows it; both empty when nothing does."""

    code: str = ""
    evidence: str = ""


def verdict(answer: Finished, stderr: bytes) -> Verdict:
    """Judge a command that failed by what it left."""
    if _is_memory_kill(answer):
        return Verdict(failures.OUT_OF_MEMORY, failures.KERNEL_SAYS[answer.memory_evidence])
    text = answer.message or stderr[-STDERR_BYTES_MAX:].decode(errors="replace")
    code, words = failures.code_in(text)
    where = "" if answer.message else f'its standard error ends with "{words}"'
    return Verdict(code, where) if code else Verdict()


def _is_memory_kill(answer: Finished) -> bool:
    """Tell whether the kernel's word and the exit fit together.

    Its count of our own cgroup speaks of a process of this task, whatever the others made of that;
    its count of the host could be anybody's, so the command must have been killed by that signal.
    """
    if answer.memory_evidence == "cgroup":
        return True
    killed = (-signal.SIGKILL, SHELL_SIGNAL + signal.SIGKILL)
    return answer.memory_evidence in failures.KERNEL_SAYS and answer.returncode in killed
